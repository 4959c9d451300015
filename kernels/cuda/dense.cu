/* The last two nodes: logits = x w^T + bias, their gradients, and the loss. All in fp32 from master
 * weights, as on the CPU: they are a thousandth of the step, and their rounding would reach the
 * scores. Every sum has one order, given by the shape. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/math/loss.h"

enum { WARP = 32, THREADS = 256, TILE = 4 /* rows and columns of the results a thread works on */ };

/* Elements V i .. V i + V - 1 of row r of [.., f] as fp32. */
template <int V, typename T>
__device__ static cf_lanes<float, V> load_row(const T *p, int64_t f, int64_t r, int64_t i)
{
    cf_lanes<T, V> raw = *cf_lanes_of<V>(p + r * f, i);
    cf_lanes<float, V> x;
    for (int k = 0; k < V; k++) x.v[k] = cf_to_float(raw.v[k]);
    return x;
}

__device__ static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A warp computes TILE images by TILE outputs; its lanes share the features. Rows past the end are
 * computed from the last row and not written. */
template <int V, typename T>
__global__ static void __launch_bounds__(THREADS) forward_kernel(cf_cuda_dense d)
{
    const T *x = static_cast<const T *>(d.x);
    int64_t n0 = (int64_t)blockIdx.x * TILE;
    int64_t k0 = ((int64_t)blockIdx.y * (THREADS / WARP) + threadIdx.x / WARP) * TILE;
    if (k0 >= d.k) return; /* the whole warp */
    float sum[TILE][TILE] = {};
    for (int64_t i = threadIdx.x % WARP; V * i < d.f; i += WARP) {
        cf_lanes<float, V> a[TILE], b[TILE];
        for (int r = 0; r < TILE; r++) a[r] = load_row<V>(x, d.f, least(n0 + r, d.n - 1), i);
        for (int c = 0; c < TILE; c++) b[c] = load_row<V>(d.weight, d.f, least(k0 + c, d.k - 1), i);
        for (int v = 0; v < V; v++)
            for (int r = 0; r < TILE; r++)
                for (int c = 0; c < TILE; c++) sum[r][c] = fmaf(a[r].v[v], b[c].v[v], sum[r][c]);
    }
    for (int r = 0; r < TILE; r++)
        for (int c = 0; c < TILE; c++) {
            float total = cf_warp_sum(sum[r][c]);
            if (threadIdx.x % WARP != 0 || n0 + r >= d.n || k0 + c >= d.k) continue;
            d.logits[(n0 + r) * d.k + k0 + c] = total + (d.bias != nullptr ? d.bias[k0 + c] : 0.0f);
        }
}

template <int V, typename T> static cf_err forward(cudaStream_t stream, const cf_cuda_dense *d)
{
    dim3 grid(cf_blocks(d->n, TILE), cf_blocks(d->k, TILE * (THREADS / WARP)));
    CF_LAUNCH((forward_kernel<V, T>), grid, THREADS, 0, stream, *d);
    return cf_cuda_check(cudaGetLastError(), "logits");
}

/* A thread computes V features of TILE rows of one of two products that have the same form:
 * out[r,f] = sum over j of g(r, j) in[j,f]; r and j are outputs and images, or the reverse. */
template <int V, typename In, typename Out>
__device__ static void gradient_tile(const cf_cuda_dense &d, const In *in, int64_t n_in,
                                     int64_t g_r, int64_t g_j, Out *out, int64_t n_out)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, r0 = (int64_t)blockIdx.y * TILE;
    if (V * i >= d.f) return;
    cf_lanes<float, V> sum[TILE] = {};
#pragma unroll 4
    for (int64_t j = 0; j < n_in; j++) {
        cf_lanes<float, V> x = load_row<V>(in, d.f, j, i);
        for (int r = 0; r < TILE; r++) {
            float g = d.glogits[least(r0 + r, n_out - 1) * g_r + j * g_j];
            for (int v = 0; v < V; v++) sum[r].v[v] = fmaf(g, x.v[v], sum[r].v[v]);
        }
    }
    for (int r = 0; r < TILE && r0 + r < n_out; r++) {
        cf_lanes<Out, V> to;
        for (int v = 0; v < V; v++) cf_from_float(sum[r].v[v], &to.v[v]);
        *cf_lanes_of<V>(out + (r0 + r) * d.f, i) = to;
    }
}

/* gw[k,f] = sum over n of g[n,k] x[n,f] */
template <int V, typename T>
__global__ static void __launch_bounds__(THREADS) weight_kernel(cf_cuda_dense d)
{
    gradient_tile<V>(d, static_cast<const T *>(d.x), d.n, 1, d.k, d.gweight, d.k);
}

/* gx[n,f] = sum over k of g[n,k] w[k,f] */
template <int V, typename T>
__global__ static void __launch_bounds__(THREADS) input_kernel(cf_cuda_dense d)
{
    gradient_tile<V>(d, d.weight, d.k, d.k, 1, static_cast<T *>(d.gx), d.n);
}

__global__ static void __launch_bounds__(THREADS) bias_kernel(cf_cuda_dense d)
{
    int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (k >= d.k) return;
    float sum = 0.0f;
#pragma unroll 8
    for (int64_t n = 0; n < d.n; n++) sum += d.glogits[n * d.k + k];
    d.gbias[k] = sum;
}

template <int V, typename T> static cf_err backward(cudaStream_t stream, const cf_cuda_dense *d)
{
    unsigned x = cf_blocks(d->f, V * THREADS);
    CF_LAUNCH((weight_kernel<V, T>), dim3(x, cf_blocks(d->k, TILE)), THREADS, 0, stream, *d);
    CF_TRY(cf_cuda_check(cudaGetLastError(), "gradient of the dense weights"));
    if (d->gbias != nullptr) {
        CF_LAUNCH(bias_kernel, cf_blocks(d->k, THREADS), THREADS, 0, stream, *d);
        CF_TRY(cf_cuda_check(cudaGetLastError(), "gradient of the dense bias"));
    }
    if (d->gx == nullptr) return CF_OK;
    CF_LAUNCH((input_kernel<V, T>), dim3(x, cf_blocks(d->n, TILE)), THREADS, 0, stream, *d);
    return cf_cuda_check(cudaGetLastError(), "gradient of the features");
}

template <typename T> static cf_err forward_by_width(cudaStream_t stream, const cf_cuda_dense *d)
{
    return d->f % 4 == 0 ? forward<4, T>(stream, d) : forward<1, T>(stream, d);
}
template <typename T> static cf_err backward_by_width(cudaStream_t stream, const cf_cuda_dense *d)
{
    return d->f % 4 == 0 ? backward<4, T>(stream, d) : backward<1, T>(stream, d);
}

cf_err cf_cuda_dense_forward(cudaStream_t stream, const cf_cuda_dense *d)
{
    return CF_BY_DTYPE(d->dtype, forward_by_width, stream, d);
}

cf_err cf_cuda_dense_backward(cudaStream_t stream, const cf_cuda_dense *d)
{
    return CF_BY_DTYPE(d->dtype, backward_by_width, stream, d);
}

struct loss_pass {
    int64_t n;
    int k, n_classes;
    const int *class_of, *labels;
    float smoothing;
    const float *logits, *scale;
    float *scratch, *glogits;
};

/* One row of scratch: the classes' shares, the row's loss, whether it is right. */
__global__ static void __launch_bounds__(WARP) loss_kernel(loss_pass p)
{
    int64_t i = (int64_t)blockIdx.x * WARP + threadIdx.x;
    if (i >= p.n) return;
    float *row = p.scratch + i * (p.n_classes + 2);
    int right = 0;
    row[p.n_classes] =
        cf_loss_row(p.logits + i * p.k, p.k, p.class_of, p.n_classes, p.labels[i], p.smoothing,
                    1.0f / (float)p.n * *p.scale, row, p.glogits + i * p.k, &right);
    row[p.n_classes + 1] = (float)right;
}

/* One block: threads load rows side by side, one adds them up in order, in double as the CPU. */
__global__ static void __launch_bounds__(THREADS)
    mean_kernel(const float *scratch, int64_t n, int n_classes, float *result)
{
    __shared__ float loss[THREADS], right[THREADS];
    double sum = 0.0, correct = 0.0;
    for (int64_t first = 0; first < n; first += THREADS) {
        int64_t i = first + threadIdx.x;
        if (i < n) {
            loss[threadIdx.x] = scratch[i * (n_classes + 2) + n_classes];
            right[threadIdx.x] = scratch[i * (n_classes + 2) + n_classes + 1];
        }
        __syncthreads();
        for (int64_t k = 0; threadIdx.x == 0 && k < THREADS && first + k < n; k++) {
            sum += (double)loss[k];
            correct += (double)right[k];
        }
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    result[0] = (float)(sum / (double)n);
    result[1] = (float)(correct / (double)n);
}

cf_err cf_cuda_loss(cudaStream_t stream, int64_t n, int k, int n_classes, const int *class_of,
                    const int *labels, float smoothing, const float *logits, const float *scale,
                    float *scratch, float *glogits, float *result)
{
    loss_pass p = {n, k, n_classes, class_of, labels, smoothing, logits, scale, scratch, glogits};
    CF_LAUNCH(loss_kernel, cf_blocks(n, WARP), WARP, 0, stream, p);
    CF_TRY(cf_cuda_check(cudaGetLastError(), "loss"));
    CF_LAUNCH(mean_kernel, 1, THREADS, 0, stream, scratch, n, n_classes, result);
    return cf_cuda_check(cudaGetLastError(), "mean loss");
}
