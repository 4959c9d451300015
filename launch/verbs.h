/* The verbs of the program, one cmd_*.c each; main.c looks them up in this order. */
#ifndef CF_LAUNCH_VERBS_H
#define CF_LAUNCH_VERBS_H

#include "launch/options.h"

extern const cf_verb cf_verb_pack, cf_verb_check, cf_verb_split, cf_verb_plan, cf_verb_train,
    cf_verb_report, cf_verb_embed, cf_verb_predict, cf_verb_score, cf_verb_inspect, cf_verb_synth,
    cf_verb_bench, cf_verb_submit, cf_verb_export, cf_verb_import, cf_verb_explain;

#endif
