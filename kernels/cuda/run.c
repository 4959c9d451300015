/* Running a program: as a recorded graph where that works, call by call where it does not. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

static cf_err check_run(const cf_program *p, cf_mode mode)
{
    if (p->options.mode != mode)
        return cf_fail(CF_E_UNEXPECTED, "program compiled for %s",
                       mode == CF_MODE_TRAIN ? "inference" : "training");
    if (!p->is_ready) return cf_fail(CF_E_UNEXPECTED, "program run before set_weights");
    return CF_OK;
}

/* Forward, and with sums backward. */
static cf_err issue(cf_program *p, void *sums)
{
    CF_TRY(cf_cuda_forward(p));
    if (sums != NULL) return cf_cuda_backward(p, sums);
    const cf_node *last = &p->graph->nodes[p->graph->n_nodes - 1];
    size_t bytes = (size_t)cf_shape_elements(last->in_shape) * sizeof(float);
    return cf_cuda_check(cudaMemcpyAsync(p->h_logits, cf_cuda_slot(p, last->in, CF_SLOT_Z), bytes,
                                         cudaMemcpyDeviceToHost, p->backend->stream),
                         "copy from the device");
}

/* ---- recordings -------------------------------------------------------------------------------
 */

static cudaGraphExec_t find_recording(const cf_program *p, const void *sums)
{
    for (int i = 0; i < p->n_recordings; i++)
        if (p->recordings[i].sums == sums) return p->recordings[i].exec;
    return NULL;
}

static cf_err keep_recording(cf_program *p, const void *sums, cudaGraphExec_t exec)
{
    if (p->n_recordings == CF_CUDA_RECORDINGS) { /* buffers of sums that are no longer used */
        CF_TRY(cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "cudaStreamSynchronize"));
        (void)cudaGraphExecDestroy(p->recordings[0].exec);
        memmove(p->recordings, p->recordings + 1, (CF_CUDA_RECORDINGS - 1) * sizeof *p->recordings);
        p->n_recordings--;
    }
    p->recordings[p->n_recordings++] = (cf_cuda_recording){sums, exec};
    return CF_OK;
}

/* Issues everything into a graph instead of onto the device. */
static cf_err capture(cf_program *p, void *sums, cudaGraph_t *graph)
{
    cudaStream_t s = p->backend->stream;
    CF_TRY(cf_cuda_check(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal),
                         "cudaStreamBeginCapture"));
    p->recording = true;
    cf_err err = issue(p, sums);
    p->recording = false;
    cudaError_t code = cudaStreamEndCapture(s, graph);
    if (err != CF_OK) {
        if (code == cudaSuccess && *graph != NULL) (void)cudaGraphDestroy(*graph);
        (void)cudaGetLastError();
        return err;
    }
    return cf_cuda_check(code, "cudaStreamEndCapture");
}

static cf_err record(cf_program *p, void *sums, cudaGraphExec_t *exec)
{
    cudaGraph_t graph = NULL;
    CF_TRY(capture(p, sums, &graph));
    cf_err err = cf_cuda_check(cudaGraphInstantiate(exec, graph, 0), "cudaGraphInstantiate");
    (void)cudaGraphDestroy(graph);
    CF_TRY(err);
    return keep_recording(p, sums, *exec);
}

/* The first run is issued call by call: libraries load their kernels then, which a recording does
 * not allow. An engine that cannot be recorded costs the launches' time, not the run. */
static cf_err run(cf_program *p, void *sums)
{
    cudaGraphExec_t exec = find_recording(p, sums);
    if (exec == NULL && p->may_record && p->warm) {
        cf_err err = record(p, sums, &exec);
        if (err != CF_OK) {
            cf_log_warn("the step cannot be recorded as a graph and is issued call by call: %s",
                        cf_err_text());
            (void)cudaGetLastError();
            p->may_record = false;
            exec = NULL;
        }
    }
    if (exec != NULL)
        return cf_cuda_check(cudaGraphLaunch(exec, p->backend->stream), "cudaGraphLaunch");
    CF_TRY(issue(p, sums));
    p->warm = true;
    return CF_OK;
}

/* ---- what the table calls ---------------------------------------------------------------------
 */

cf_err cf_cuda_train(cf_program *p, const cf_batch *batch, void *sums)
{
    CF_TRY(check_run(p, CF_MODE_TRAIN));
    CF_TRY(cf_cuda_use(p->backend));
    CF_TRY(cf_cuda_timer_start(p));
    CF_TRY(cf_cuda_feed_batch(p, batch));
    CF_TRY(run(p, sums));
    p->ran = true;
    return cf_cuda_timer_stop(p);
}

cf_err cf_cuda_infer(cf_program *p, const cf_batch *batch, float *logits)
{
    CF_TRY(check_run(p, CF_MODE_INFER));
    CF_TRY(cf_cuda_use(p->backend));
    CF_TRY(cf_cuda_timer_start(p));
    CF_TRY(cf_cuda_feed_batch(p, batch));
    CF_TRY(run(p, NULL));
    CF_TRY(cf_cuda_timer_stop(p));
    CF_TRY(cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "the device"));
    const cf_node *last = &p->graph->nodes[p->graph->n_nodes - 1];
    memcpy(logits, p->h_logits, (size_t)cf_shape_elements(last->in_shape) * sizeof *logits);
    p->ran = true;
    return CF_OK;
}

cf_err cf_cuda_set_scale(cf_program *p, float scale)
{
    CF_TRY(cf_cuda_use(p->backend));
    CF_TRY(cf_cuda_check(
        cudaMemcpyAsync(p->scale, &scale, sizeof scale, cudaMemcpyHostToDevice, p->backend->stream),
        "copy to the device"));
    return cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "copy to the device");
}

cf_err cf_cuda_fault_of(cf_program *p)
{
    const cf_graph *g = p->graph;
    cf_cuda_fault fault;
    cudaStream_t s = p->backend->stream;
    CF_TRY(cf_cuda_use(p->backend));
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(&fault, p->fault, sizeof fault, cudaMemcpyDeviceToHost, s),
                         "copy from the device"));
    CF_TRY(cf_cuda_check(cudaStreamSynchronize(s), "the device"));
    if (fault.first > 2 * g->n_params) return CF_OK;
    CF_TRY(cf_cuda_check(cudaMemsetAsync(p->fault, 0x7F, sizeof fault, s), "cudaMemsetAsync"));
    if (fault.first == g->n_params)
        return cf_fail(CF_E_NUMERIC, "the loss is not finite or above %g",
                       (double)CF_EXACT_GRAD_LIMIT);
    bool moment = fault.first < g->n_params;
    const cf_param *t = &g->params[moment ? fault.first : 2 * g->n_params - fault.first];
    return cf_fail(CF_E_NUMERIC, "%s %s: not finite or above %g", moment ? "moment" : "gradient of",
                   t->name, (double)(moment ? CF_EXACT_STATE_LIMIT : CF_EXACT_GRAD_LIMIT));
}
