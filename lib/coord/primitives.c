/* The primitives of this build: one line each. */
#include "coord/operation.h"
#include "coord/primitive/cluster.h"
#include "coord/primitive/election.h"
#include "coord/primitive/group.h"
#include "coord/primitive/kv.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/lock.h"
#include "coord/primitive/queue.h"
#include "coord/primitive/schedule.h"
#include "coord/primitive/txn.h"
#include "coord/primitive/watch.h"
#include "coord/wait.h"

const struct primitive *const primitives[] = {
    &wait_primitive,     &lease_primitive,    &lock_primitive,  &cluster_primitive,
    &election_primitive, &kv_primitive,       &txn_primitive,   &watch_primitive,
    &queue_primitive,    &schedule_primitive, &group_primitive, NULL,
};
