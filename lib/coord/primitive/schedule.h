/* Schedules (api.md 5): tasks made by the clock. What their files share. schedule.c: commands and table;
 * schedule_fire.c: what happens when a time has come; schedule_row.c: rows, the next time; schedule_view.c:
 * queries and events.
 *
 * A schedule has nominal times: those of its cron pattern in its time zone, or every so many ms from its
 * start (its making, when it gives none). Each is met by exactly one entry, whoever leads: `due` is set for
 * the next one alone, and the entry that meets it sets the one after it, reckoned from the nominal time.
 * Nominal times follow from the row alone; nothing of how tasks are consumed moves them.
 *
 * Rows:
 *     KEY_SCHEDULE name -> schedule_row
 *     KEY_SCHEDULE      -> how many there are
 *
 * `what` of a time that is due: name 0 nominal time (8 bytes).
 *
 * A nominal time is late when its entry comes more than the grace after it (SCHEDULE_GRACE_MS or the time
 * until the following one, whichever is less): a misfire. Jitter puts a time off by less than the time until
 * the following one, always by the same.
 *
 * Invariants:
 *
 * 1. next_ms is a nominal time that no entry has met yet, and due_ms in the due index; both are 0 while the
 * schedule is paused, or has no more times. There is no other due row.
 * 2. Nominal times are met in their order, each once: fired or skipped.
 * 3. `tasks` are the newest tasks that were made, without those found over. */
#ifndef COORDD_COORD_PRIMITIVE_SCHEDULE_H
#define COORDD_COORD_PRIMITIVE_SCHEDULE_H

#include "coord/cron.h"
#include "coord/event.h"
#include "coord/primitive/object.h"

enum {
    SCHEDULE_CODE = 10,
    SCHEDULES_MAX = 10000,
    SCHEDULE_PAYLOAD_MAX = 64 * 1024, /* it is written with every firing */
    SCHEDULE_EVERY_MIN_MS = 1000,
    SCHEDULE_GRACE_MS = 60 * 1000,
    SCHEDULE_MISFIRES_MAX = 1000,
    SCHEDULE_SKIPS_COUNTED = 1000, /* of the nominal times that one entry skips */
    SCHEDULE_RUNS = 20,
    SCHEDULE_TASKS = 16
};
#define SCHEDULE_DURATION_MAX_MS (366ull * 24 * 3600 * 1000)

enum overlap { OVERLAP_ALLOW = 1, OVERLAP_SKIP, OVERLAP_QUEUE_ONE, OVERLAP_CANCEL_RUNNING };
enum misfire { MISFIRE_SKIP = 1, MISFIRE_ONCE, MISFIRE_ALL };
extern const char *const overlap_choices[], *const misfire_choices[];

/* What a nominal time, or a call to run, came to. */
enum run_outcome {
    RUN_FIRED = 1,
    RUN_MANUAL,
    RUN_SKIPPED_OVERLAP,
    RUN_SKIPPED_MISFIRE,
    RUN_DEDUPLICATED, /* a live task had the key: no new one */
    RUN_REFUSED,      /* by the queue */
    RUN_OUTCOMES = RUN_REFUSED
};
extern const char *const run_outcome_choices[];

/* The arguments of schedule.put, kept as they are. 0, "": not given. */
struct schedule_config {
    struct slice schedule, queue, cron, time_zone, payload, key, group;
    uint64_t every_ms, priority, ttl_ms, timeout_ms;
    uint64_t overlap, misfire, misfire_max, jitter_ms, start_ms, end_ms;
    bool paused;
};
extern const struct record schedule_config_record;

struct run {
    uint64_t nominal_ms; /* 0: asked for by schedule.run. Of several that were skipped the first */
    uint64_t at_ms, outcome, task;
    uint64_t count;      /* how many nominal times it stands for */
    struct slice detail; /* of a refusal */
};

struct schedule_task {
    uint64_t id;
};

struct schedule_row {
    const struct schedule_config *config;
    uint64_t created_ms, revision; /* revision: index of the last change */
    uint64_t next_ms, due_ms;
    uint64_t fired, manual, skipped_overlap, skipped_misfire, deduplicated, refused; /* ever */
    struct list runs;  /* struct run, newest first */
    struct list tasks; /* struct schedule_task */
};

/* A schedule in the hands of one entry: loaded, changed, saved. */
struct schedule {
    struct apply *apply;
    struct slice name;
    struct schedule_row row;
    bool exists, changed;
    const struct schedule_config *timed; /* that cron and zone were read of */
    struct cron cron;
    struct zone zone;
};

/* schedule_row.c */
void schedule_load(struct schedule *schedule, struct apply *apply, struct slice name);
void schedule_save(struct schedule *schedule); /* when it changed: the revision becomes the entry's index */
void schedule_remove(struct schedule *schedule);
uint64_t schedule_count(struct rows *rows);
/* The first nominal time after that time; 0: there is none. */
uint64_t schedule_after(struct schedule *schedule, uint64_t after_ms);
/* When that nominal time is due. */
uint64_t schedule_due_ms(struct schedule *schedule, uint64_t nominal_ms);
/* Moves the timer to that nominal time; 0: there is none. */
void schedule_set_next(struct schedule *schedule, uint64_t nominal_ms);
bool schedule_parse_what(struct slice what, struct slice *name, uint64_t *nominal_ms);
void schedule_check(struct rows *rows, struct arena *arena);

/* schedule_fire.c */
void schedule_due(struct apply *apply, uint64_t at_ms, struct slice what);
/* Makes a task at once, whatever runs; its id and state in *made. */
struct enqueued;
enum outcome schedule_run_now(struct schedule *schedule, struct enqueued *made, struct slice *detail);

/* schedule_view.c */
enum schedule_event {
    SCHEDULE_SET = 1,
    SCHEDULE_FIRED,
    SCHEDULE_SKIPPED,
    SCHEDULE_PAUSED,
    SCHEDULE_RESUMED,
    SCHEDULE_REMOVED,
    SCHEDULE_EVENTS = SCHEDULE_REMOVED
};
extern const struct event_kind schedule_events[SCHEDULE_EVENTS];
struct schedule_name_args {
    struct slice schedule;
};
extern const struct record schedule_name_record, schedule_list_args_record;
extern const struct record schedule_view_record, schedule_list_record;
const void *schedule_view(const struct schedule *schedule); /* of schedule_view_record */
/* SET, PAUSED, RESUMED, REMOVED. */
void schedule_tell(const struct schedule *schedule, enum schedule_event event);
void schedule_tell_run(const struct schedule *schedule, const struct run *run); /* FIRED, SKIPPED */
void schedule_get(struct apply *apply, const void *args);
void schedule_list(struct apply *apply, const void *args);

extern const struct primitive schedule_primitive;

#endif
