#include "kernels/comm/comm.h"

cf_err cf_comm_agree(cf_comm *c, cf_err mine)
{
    int code = CF_OK, rank = 0;
    CF_TRY(c->ops->highest(c, (int)mine, &code, &rank));
    if (code != CF_OK && mine == CF_OK) return cf_fail((cf_err)code, "rank %d failed", rank);
    return (cf_err)code;
}
