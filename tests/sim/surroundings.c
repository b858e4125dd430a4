/* What else a node sees: clocks, its mailbox, its log lines; and how it dies. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- clocks --- */

uint64_t sim_local_ms(const struct sim_node *sim)
{
    return world.now_ms + sim->lag_ms;
}

uint64_t boottime_ms(void)
{
    const struct sim_node *sim = sim_current;
    if (!sim) return world.now_ms;
    return sim->offset_ms + sim_local_ms(sim) + sim_local_ms(sim) * sim->rate_ppm / 1000000;
}

uint64_t wallclock_ms(void)
{
    return 1700000000000 + sim_current->wall_ms + sim_local_ms(sim_current);
}

uint64_t readclock_ms(void)
{
    return 0;
}

uint64_t random_number(void)
{
    return draw(UINT32_MAX) << 32 | (draw(UINT32_MAX) + 1);
}

/* --- deaths --- */

_Noreturn void sim_die(enum death how)
{
    longjmp(sim_current->death, (int)how);
}

void fatal(const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (sim_current && (sim_current->eio || sim_current->rotten)) {
        sim_trace("%s dies of its disk: %s", sim_current->name, text);
        sim_die(DEATH_FATAL);
    }
    sim_fail("%s: fatal: %s", sim_current ? sim_current->name : "the judge", text);
}

void check_failed(const char *file, int line, const char *condition)
{
    sim_fail("%s: invariant broken at %s:%d: %s", sim_current ? sim_current->name : "the judge", file, line,
             condition);
}

/* A node that refuses to go on ends by itself. */
void _exit(int status)
{
    (void)status;
    if (sim_current) sim_die(DEATH_EXIT);
    abort();
}

/* --- log lines --- */

void log_configure(enum log_level least, bool json)
{
    (void)least, (void)json;
}

void log_pairs(enum log_level level, const char *fact, const struct log_pair *pairs, unsigned count)
{
    char text[700];
    size_t size = (size_t)snprintf(text, sizeof text, "%s: %s", sim_current ? sim_current->name : "?", fact);
    (void)level;
    if (strncmp(fact, "refused to start: the cluster exists", 36) == 0) mark(MARK_DISK_LOST_REFUSED);
    if (strncmp(fact, "the snapshot cannot be read back", 32) == 0) mark(MARK_SNAPSHOT_ROT_NOTICED);
    if (strcmp(fact, "founding the cluster") == 0) mark(MARK_CLUSTER_FOUNDED);
    if (strncmp(fact, "a learner has caught up", 23) == 0) mark(MARK_LEARNER_PROMOTED);
    if (strcmp(fact, "changing the members") == 0 && strcmp(pairs[1].value, "cluster.add") == 0)
        mark(MARK_NODE_JOINED);
    for (unsigned i = 1; i < count && size < sizeof text; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, " %s=%s", pairs[i].key, pairs[i].value);
    sim_trace("%s", text);
}

const char *log_decimal(uint64_t number, char text[24])
{
    snprintf(text, 24, "%llu", (unsigned long long)number);
    return text;
}

const char *log_hexadecimal(uint64_t number, char text[24])
{
    snprintf(text, 24, "%016llx", (unsigned long long)number);
    return text;
}

/* --- the mailbox --- */

static struct sim_node *of_mailbox(const struct mailbox *mailbox)
{
    return (struct sim_node *)(uintptr_t)mailbox;
}

struct call *call_new(void)
{
    static uint64_t numbers;
    struct call *call = memory_new(sizeof *call);
    call->number = ++numbers;
    return call;
}

void call_free(struct call *call)
{
    arena_free(&call->arena);
    free(call);
}

static void wake(struct sim_node *sim)
{
    if (sim->run_at_ms > world.now_ms) sim->run_at_ms = world.now_ms;
}

void mailbox_submit(struct mailbox *mailbox, struct call *calls)
{
    struct sim_node *sim = of_mailbox(mailbox);
    while (calls) {
        struct call *next = calls->next;
        calls->next = NULL;
        *sim->calls_end = calls;
        sim->calls_end = &calls->next;
        calls = next;
    }
    wake(sim);
}

void mailbox_notify(struct mailbox *mailbox, struct notice *notice)
{
    struct sim_node *sim = of_mailbox(mailbox);
    notice->next = NULL;
    *sim->notices_end = notice;
    sim->notices_end = &notice->next;
    wake(sim);
}

struct mail mailbox_take(struct mailbox *mailbox)
{
    struct sim_node *sim = of_mailbox(mailbox);
    struct mail mail = {sim->calls, sim->notices};
    mailbox_crash(sim);
    return mail;
}

/* Whatever lies there is lost with the process. */
void mailbox_crash(struct sim_node *sim)
{
    sim->calls = NULL;
    sim->calls_end = &sim->calls;
    sim->notices = NULL;
    sim->notices_end = &sim->notices;
}

int mailbox_descriptor(const struct mailbox *mailbox)
{
    (void)mailbox;
    return -1;
}

void mailbox_deliver(struct call *calls)
{
    if (sim_current->node && sim_current->node->raft) judge_applied(sim_current);
    for (struct call *next; calls; calls = next) {
        next = calls->next;
        if (calls->stream)
            readers_answer(calls);
        else
            clients_answer(calls);
    }
}

void mailbox_ask_barrier(struct mailbox *mailbox, uint64_t number)
{
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = NOTICE_BARRIER, .number = number};
    mailbox_notify(mailbox, notice);
}

size_t mailbox_barrier_count(const struct mailbox *mailbox)
{
    (void)mailbox;
    return 1;
}

void mailbox_show(struct mailbox *mailbox, const struct node_view *view)
{
    (void)mailbox, (void)view;
}
