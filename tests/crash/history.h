/* What the workload writes, and what must be found again: entries, hard states and rows, all drawn from one
 * seed. */
#ifndef COORDD_TESTS_CRASH_HISTORY_H
#define COORDD_TESTS_CRASH_HISTORY_H

#include "base/arena.h"
#include "coord/rows.h"
#include "raft/raft.h"

enum { INDEX_MAX = 6000, KEYS = 60, KEY_SIZE = 16 };

/* The log as it should be. entries[0] is the base of an empty log. */
struct history {
    uint64_t seed;
    struct raft_hard hard;
    uint64_t last;
    uint64_t terms[INDEX_MAX];
    uint32_t chains[INDEX_MAX];
};

/* One call of raftlog_append: entries first .. first + count - 1, all of one term. Or, with `snapshot`, a
 * snapshot that stands for them too: the log begins anew behind the last of them. */
struct step {
    struct raft_hard hard;
    uint64_t first, term;
    size_t count;
    bool snapshot;
};

/* The only entry there ever is with that index and term, but for its chain. */
struct raft_entry history_entry(const struct history *history, struct arena *arena, uint64_t index,
                                uint64_t term);
void history_apply(struct history *history, const struct step *step);
void history_cut(struct history *history, uint64_t last);

/* What applying an entry does to the rows. */
void rows_follow(struct rows *rows, const struct raft_entry *entry);

/* The same rows again, as a plain table. */
struct table {
    struct slice values[KEYS]; /* NULL: no row */
    struct arena arena;
};

void table_follow(struct table *table, const struct raft_entry *entry);
uint64_t table_digest(const struct table *table);
bool table_equals(const struct table *table, struct rows *rows);
/* Its rows in order of keys, for which `texts` has room. Returns how many. */
size_t table_rows(const struct table *table, struct slice keys[KEYS], struct slice values[KEYS],
                  char texts[KEYS][KEY_SIZE]);

#endif
