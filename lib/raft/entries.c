#include "raft/entries.h"

#include "base/check.h"
#include "base/memory.h"

struct term_run {
    uint64_t first, term;
};

void entries_start(struct entries *log, uint64_t base_index, uint64_t base_term, uint32_t base_chain)
{
    *log = (struct entries){.base_index = base_index,
                            .base_term = base_term,
                            .base_chain = base_chain,
                            .runs.item_size = sizeof(struct term_run),
                            .chains.item_size = sizeof(uint32_t),
                            .window.item_size = sizeof(struct raft_entry)};
}

static void free_payloads(struct entries *log, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        struct raft_entry *entry = strip_at(&log->window, i);
        log->window_bytes -= sizeof *entry + entry->payload.size;
        free((void *)entry->payload.data);
    }
}

void entries_free(struct entries *log)
{
    free_payloads(log, 0, log->window.count);
    strip_free(&log->window);
    strip_free(&log->chains);
    strip_free(&log->runs);
}

uint64_t entries_last(const struct entries *log)
{
    return log->base_index + log->chains.count;
}

uint64_t entries_last_term(const struct entries *log)
{
    if (!log->runs.count) return log->base_term;
    return ((struct term_run *)strip_at(&log->runs, log->runs.count - 1))->term;
}

/* The run that holds index, which is in (base_index, last]. Questions are about the newest entries, so it
 * looks from the end. */
static struct term_run *run_of(const struct entries *log, uint64_t index)
{
    size_t place = log->runs.count - 1;
    while (((struct term_run *)strip_at(&log->runs, place))->first > index) place--;
    return strip_at(&log->runs, place);
}

enum term_at entries_term_at(const struct entries *log, uint64_t index, uint64_t *term)
{
    if (index < log->base_index) return TERM_COMPACTED;
    if (index > entries_last(log)) return TERM_BEYOND;
    *term = index == log->base_index ? log->base_term : run_of(log, index)->term;
    return TERM_KNOWN;
}

uint32_t entries_chain_at(const struct entries *log, uint64_t index)
{
    CHECK(index >= log->base_index && index <= entries_last(log));
    if (index == log->base_index) return log->base_chain;
    return *(uint32_t *)strip_at(&log->chains, index - log->base_index - 1);
}

uint64_t entries_at_most(const struct entries *log, uint64_t index, uint64_t term)
{
    if (index < log->base_index) return index;
    if (index > entries_last(log)) index = entries_last(log);
    for (size_t place = log->runs.count; place-- > 0;) {
        const struct term_run *run = strip_at(&log->runs, place);
        if (run->first > index) continue;
        if (run->term <= term) return index;
        index = run->first - 1;
    }
    return log->base_term <= term ? log->base_index : log->base_index - 1;
}

void entries_append(struct entries *log, const struct raft_entry *entry, bool payload)
{
    CHECK(entry->index == entries_last(log) + 1 && entry->term >= entries_last_term(log));
    if (!log->runs.count || entry->term > entries_last_term(log))
        *(struct term_run *)strip_push(&log->runs) = (struct term_run){entry->index, entry->term};
    *(uint32_t *)strip_push(&log->chains) = entry->chain;
    if (!payload) {
        entries_drop_payloads(log, entry->index);
        return;
    }
    struct raft_entry *kept = strip_push(&log->window);
    *kept = *entry;
    log->window_bytes += sizeof *kept + entry->payload.size;
    kept->payload = slice_of(NULL, 0);
    if (!entry->payload.size) return;
    uint8_t *copy = memory_resize(NULL, entry->payload.size);
    memcpy(copy, entry->payload.data, entry->payload.size);
    kept->payload = slice_of(copy, entry->payload.size);
}

void entries_truncate(struct entries *log, uint64_t index)
{
    uint64_t last = entries_last(log);
    CHECK(index > log->base_index && index <= last);
    size_t count = (size_t)(last - index + 1);
    size_t held = count < log->window.count ? count : log->window.count;
    free_payloads(log, log->window.count - held, held);
    strip_drop_last(&log->window, held);
    strip_drop_last(&log->chains, count);
    while (log->runs.count && ((struct term_run *)strip_at(&log->runs, log->runs.count - 1))->first >= index)
        strip_drop_last(&log->runs, 1);
}

uint64_t entries_window(const struct entries *log)
{
    return entries_last(log) - log->window.count + 1;
}

void entries_drop_payloads(struct entries *log, uint64_t index)
{
    uint64_t first = entries_window(log);
    if (index < first) return;
    size_t count = index - first < log->window.count ? (size_t)(index - first + 1) : log->window.count;
    free_payloads(log, 0, count);
    strip_drop_first(&log->window, count);
}

void entries_trim(struct entries *log, uint64_t index)
{
    uint64_t term = 0;
    CHECK(entries_term_at(log, index, &term) == TERM_KNOWN);
    entries_drop_payloads(log, index);
    uint32_t chain = entries_chain_at(log, index);
    strip_drop_first(&log->chains, (size_t)(index - log->base_index));
    while (log->runs.count > 1 && ((struct term_run *)strip_at(&log->runs, 1))->first <= index + 1)
        strip_drop_first(&log->runs, 1);
    if (!log->chains.count)
        strip_drop_first(&log->runs, log->runs.count);
    else
        ((struct term_run *)strip_at(&log->runs, 0))->first = index + 1;
    log->base_index = index;
    log->base_term = term;
    log->base_chain = chain;
}

const struct raft_entry *entries_get(const struct entries *log, uint64_t index)
{
    if (index < entries_window(log) || index > entries_last(log)) return NULL;
    return strip_at(&log->window, (size_t)(index - entries_window(log)));
}

void entries_check(const struct entries *log)
{
    CHECK(log->window.count <= log->chains.count);
    CHECK((log->runs.count == 0) == (log->chains.count == 0));
    uint64_t index = log->base_index, term = log->base_term;
    for (size_t i = 0; i < log->runs.count; i++) {
        const struct term_run *run = strip_at(&log->runs, i);
        CHECK(i ? run->first > index && run->term > term : run->first == index + 1 && run->term >= term);
        index = run->first;
        term = run->term;
    }
    CHECK(log->runs.count == 0 || index <= entries_last(log));
    if (!log->window.count) return;
    const struct raft_entry *newest = entries_get(log, entries_last(log));
    CHECK(newest->index == entries_last(log) && newest->term == term);
    CHECK(newest->chain == entries_chain_at(log, newest->index));
    CHECK(newest->chain == raft_chain(entries_chain_at(log, newest->index - 1), newest));
}
