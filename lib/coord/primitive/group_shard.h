/* What the files about shards share: group_shard.c (rows, hand-over, operations), group_share.c (whose they
 * are). */
#ifndef COORDD_COORD_PRIMITIVE_GROUP_SHARD_H
#define COORDD_COORD_PRIMITIVE_GROUP_SHARD_H

#include "coord/primitive/group.h"

enum shard_state { SHARD_FREE = 1, SHARD_OWNED, SHARD_REVOKING };

struct shard {
    uint64_t number, token, state, since_ms;
    struct slice owner, next, last; /* last: of a free one, who is to have it again if it can */
};

/* group_shard.c: each change tells its event; the caller saves the group. */
bool shard_get(struct group *group, uint64_t number, struct shard *shard);
void shard_give(struct group *group, struct shard *shard,
                struct slice owner); /* its token is not of this entry */
void shard_revoke(struct group *group, struct shard *shard, struct slice next);
void shard_return_to(struct group *group,
                     struct shard *shard); /* its owner need not let go of it after all */
void shards_set_timer(struct group *group, uint64_t at_ms);
void shards_sooner(struct group *group, uint64_t at_ms); /* the timer is not later than that */

/* group_share.c */
/* Until when a free shard waits for a member that failed; 0: it does not. */
uint64_t shard_waits_until_ms(struct group *group, const struct shard *shard);
/* Back from a failure, it may have its shards again although it is on probation. */
bool member_may_resume(const struct group *group, const struct member *member);

#endif
