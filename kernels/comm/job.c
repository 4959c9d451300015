#include "kernels/comm/job.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/comm/idle.h"

/* Open MPI 4 starts a daemon of its own beside a process that no launcher started, for jobs that
 * start further processes; we start none, and the daemon costs 0.1 s and may outlive a kill. Others
 * do not know the name. What the user set stands. */
static cf_err be_alone(void)
{
    if (setenv("OMPI_MCA_ess_singleton_isolated", "1", 0) == 0) return CF_OK;
    return cf_fail_errno(CF_E_UNEXPECTED, "environment");
}

static cf_err duplicate_world(MPI_Comm *out)
{
    CF_TRY(cf_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, out), "MPI_Comm_dup"));
    return cf_mpi_check(MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN),
                        "MPI_Comm_set_errhandler");
}

static cf_err find_host_mates(cf_job *job)
{
    MPI_Comm mates = MPI_COMM_NULL;
    CF_TRY(cf_mpi_check(
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, job->rank, MPI_INFO_NULL, &mates),
        "MPI_Comm_split_type"));
    MPI_Comm_rank(mates, &job->local_rank);
    MPI_Comm_size(mates, &job->local_size);
    return cf_mpi_check(MPI_Comm_free(&mates), "MPI_Comm_free");
}

cf_err cf_job_init(cf_job *job)
{
    *job = (cf_job){.control = MPI_COMM_NULL, .data = MPI_COMM_NULL};
    int provided = MPI_THREAD_SINGLE, length = 0;
    char name[MPI_MAX_PROCESSOR_NAME] = "";
    CF_TRY(be_alone());
    CF_TRY(cf_mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided),
                        "MPI_Init_thread"));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_MULTIPLE) {
        return cf_fail(CF_E_DEVICE, "MPI: expected thread level %d (MPI_THREAD_MULTIPLE), found %d",
                       MPI_THREAD_MULTIPLE, provided);
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &job->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job->size);
    CF_TRY(cf_mpi_check(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name"));
    size_t n = strnlen(name, sizeof job->host - 1);
    memcpy(job->host, name, n);
    job->host[n] = '\0';
    CF_TRY(find_host_mates(job));
    CF_TRY(duplicate_world(&job->control));
    return duplicate_world(&job->data);
}

/* Ranks meet before MPI_Finalize. Should one never come, the watch ends the others while they wait
 * here; mpirun of Open MPI 4.1 crashes or hangs itself when ranks end while they wait in there. */
static cf_err meet(MPI_Comm comm)
{
    MPI_Request request;
    cf_idle idle = {0};
    int done = 0;
    CF_TRY(cf_mpi_check(MPI_Ibarrier(comm, &request), "MPI_Ibarrier"));
    for (;;) {
        CF_TRY(cf_mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return CF_OK;
        cf_idle_briefly(&idle);
    }
}

cf_err cf_job_fini(cf_job *job)
{
    if (job->control != MPI_COMM_NULL) CF_TRY(meet(job->control));
    if (job->data != MPI_COMM_NULL) {
        CF_TRY(cf_mpi_check(MPI_Comm_free(&job->data), "MPI_Comm_free"));
    }
    if (job->control != MPI_COMM_NULL) {
        CF_TRY(cf_mpi_check(MPI_Comm_free(&job->control), "MPI_Comm_free"));
    }
    return cf_mpi_check(MPI_Finalize(), "MPI_Finalize");
}

void cf_job_abort(cf_err code)
{
    int started = 0, ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (started && !ended) MPI_Abort(MPI_COMM_WORLD, (int)code);
}
