/* Control messages between the coordinator and workers, on a communicator of their own.
 *
 * Plain structs here; protobuf (control.proto) on the wire, at most CF_CONTROL_MAX_BYTES a message,
 * bounds checked when read. This page is all that coordinator/ and worker/ know of each other.
 * Read first: cf_message. */
#ifndef CF_PROTO_CONTROL_H
#define CF_PROTO_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { CF_CONTROL_MAX_BYTES = 64 << 20, CF_MAX_FOLDS = 128 };
/* In fold_of: the image is tested in no fold and trained on in all. */
enum { CF_FOLD_TRAIN = UINT8_MAX - 1 };

typedef enum cf_message_kind {
    CF_MSG_HELLO = 1, /* worker: I am here */
    CF_MSG_PLAN,      /* coordinator: what to do */
    CF_MSG_PROGRESS,  /* worker: a step was done, or a phase begins */
    CF_MSG_RESULT,    /* worker: predictions of one test chunk */
    CF_MSG_DONE,      /* worker: all my folds are finished, or I failed (code, text) */
    CF_MSG_BYE,       /* coordinator: all is written, leave */
    CF_MSG_WATCH,     /* coordinator: send heartbeats there */
    CF_MSG_STOP       /* worker: I was asked to stop; coordinator: save and stop, all of you */
} cf_message_kind;

/* EPOCH: an epoch ended; loss and accuracy of that message are its means, from the group's leader.
 */
typedef enum cf_phase {
    CF_PHASE_START,
    CF_PHASE_TRAIN,
    CF_PHASE_TEST,
    CF_PHASE_EPOCH,
    CF_PHASE_DONE,
    CF_PHASE_SAVED /* stopped: the fold is on disk at this step, from the group's leader */
} cf_phase;

typedef struct cf_msg_hello {
    char host[256];
    int64_t pid;
    int threads;
    char device[256]; /* backend's description */
} cf_msg_hello;

/* The coordinator partitions the data: every image's fold, every fold's group, every worker's
 * group. */
typedef struct cf_msg_plan {
    char *config;        /* effective YAML; owned */
    char *config_path;   /* relative paths in it start here; owned */
    char *run_dir;       /* owned */
    uint64_t data_hash;  /* cells content and folds: goes into checkpoints */
    uint64_t cells_hash; /* cells content: a worker's own cells file must have it */
    uint64_t init_hash;  /* the same of model.init's file; 0: none */
    int n_folds;
    uint8_t *fold_of; /* owned, [n_images] fold of each image, or CF_FOLD_TRAIN */
    int64_t n_images;
    int n_groups;
    int32_t *group_of_fold;   /* owned, [n_folds]; -1: not run in this job (--fold) */
    int32_t *group_of_worker; /* owned, [n_workers] */
    int n_workers;
} cf_msg_plan;

typedef struct cf_msg_progress {
    int fold;
    cf_phase phase;
    int64_t step, total_steps; /* optimizer steps */
    int64_t epoch, epochs;
    double loss;     /* of the last step */
    double accuracy; /* training, of the last step */
    double learning_rate;
    double wait_seconds;    /* time the step waited for data, summed since the last message */
    double step_seconds;    /* time of steps, summed since the last message */
    int64_t images;         /* images trained by the fold since the last message */
    int64_t resident_bytes; /* of the worker */
    double longest_step;    /* seconds, of this worker so far */
    double longest_save;    /* seconds to have all folds of this worker on disk, so far */
} cf_msg_progress;

typedef struct cf_msg_result {
    int fold;
    int64_t n;
    int n_nodes;
    bool final; /* false: a test during training, for the learning curve */
    int64_t epoch;
    int64_t *images; /* owned, [n] index in the cells file */
    float *logits;   /* owned, [n][n_nodes] */
} cf_msg_result;

typedef struct cf_msg_done {
    cf_err code;
    char text[1024];
} cf_msg_done;

typedef struct cf_msg_stop {
    char reason[256]; /* "signal USR1", for people */
} cf_msg_stop;

/* All workers leave alike: with OK, or with REQUEUE where any of them was stopped. */
typedef struct cf_msg_bye {
    cf_err code;
    bool more; /* code OK: another plan follows, say hello again (a sweep's next point) */
} cf_msg_bye;

enum { CF_WATCH_ADDRESS_BYTES = 16, CF_WATCH_MAX_ADDRESSES = 16 };
/* Where heartbeats (proto/beat.h) go, and whose they are. */
typedef struct cf_msg_watch {
    uint64_t token; /* of the job: other jobs' datagrams are not ours */
    int port;
    int64_t timeout_ns; /* run.hang_timeout */
    char host[256];     /* the coordinator's, with its rank and process, for messages */
    int rank;
    int64_t pid;
    int n_addresses;
    uint8_t addresses[CF_WATCH_MAX_ADDRESSES][CF_WATCH_ADDRESS_BYTES]; /* IPv6 or mapped IPv4 */
} cf_msg_watch;

typedef struct cf_message {
    cf_message_kind kind;
    int from; /* rank in the control communicator; set when received */
    union {
        cf_msg_hello hello;
        cf_msg_plan plan;
        cf_msg_progress progress;
        cf_msg_result result;
        cf_msg_done done;
        cf_msg_watch watch;
        cf_msg_stop stop;
        cf_msg_bye bye;
    };
} cf_message;

/* Appends the wire form of `m` to out. */
CF_CHECKED cf_err cf_message_pack(const cf_message *m, cf_buf *out);
/* CF_E_DEVICE for bytes that are no valid message. Owned members are then set; release with fini.
 */
CF_CHECKED cf_err cf_message_unpack(const void *bytes, size_t n, cf_message *m);
void cf_message_fini(cf_message *m);

#endif
