/* Runs a script of commands against the state machine and compares what it answers, line by line.
 *
 * A block is a line "> COMMAND NAME=VALUE ..." (names and values as in the API, an operation by its name),
 * the lines that are expected, and an empty line. Lines with # are comments. Answers are printed as "INDEX
 * CODE JSON", what the lease clock would be told as "lease ...". Beside the operations: "expire LEASE...",
 * "cancel INDEX REASON", "pulse" (as long as one is wanted), "due" (as long as a time has come), "session
 * NODE" (and its lease becomes the origin of what follows), "origin none", "time +5s", "term N", "count"
 * (rows but for the history's), "events [AFTER]" (of the entries after that one, else of the last command's
 * entry). Every command goes through its binary form, and every invariant is checked after it. With REWRITE=1
 * the file is written anew with what came out: read it critically. */
#include "coord/coord.h"
#include "coord/event.h"
#include "coord/key.h"
#include "coord/primitive/lease.h"
#include "tests/support/rows_memory.h"

#include <stdio.h>
#include <stdlib.h>

struct script {
    struct rows *rows;
    struct arena arena;
    uint64_t index, term, time_ms, origin;
    struct buffer out; /* of this block */
};

/* As if the clock stood still since the lease was last touched. */
static uint64_t remaining(void *context, uint64_t lease)
{
    struct script *script = context;
    struct apply apply;
    struct lease_row row;
    apply_begin(&apply, script->rows, &script->arena, script->index, script->term, script->time_ms);
    return lease_get(&apply, lease, &row) ? row.ttl_ms : 0;
}

static void print_answer(struct script *script, const struct answer *answer)
{
    buffer_printf(&script->out, "%llu %s", (unsigned long long)answer->to_index,
                  outcome_facts(answer->outcome)->code);
    if (answer->shape) {
        const void *data = record_copy(answer->shape, answer->data, &script->arena, remaining, script);
        buffer_add_byte(&script->out, ' ');
        record_json(answer->shape, data, &(struct json){&script->out, false});
    }
    if (answer->detail.size) buffer_printf(&script->out, " (%.*s)", SLICE_ARGS(answer->detail));
    buffer_add_byte(&script->out, '\n');
}

static void print_effects(struct script *script, const struct apply *apply)
{
    bool own = false;
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        own |= answer->to_index == apply->index;
        print_answer(script, answer);
    }
    if (!own) buffer_printf(&script->out, "%llu waits\n", (unsigned long long)apply->index);
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next) {
        if (change->ttl_ms)
            buffer_printf(&script->out, "lease L%llx lives %llu\n", (unsigned long long)change->lease,
                          (unsigned long long)change->ttl_ms);
        else
            buffer_printf(&script->out, "lease L%llx over\n", (unsigned long long)change->lease);
    }
}

static void begin(struct script *script, struct apply *apply)
{
    apply_begin(apply, script->rows, &script->arena, script->index, script->term, script->time_ms);
}

static void check(struct script *script)
{
    struct arena arena = {0};
    coord_check(script->rows, &arena);
    arena_free(&arena);
}

/* Returns the answers, so that a caller can look at them. */
static struct apply run_command(struct script *script, const struct operation *operation, const void *args,
                                bool print)
{
    struct buffer bytes = {0};
    struct command command;
    struct apply apply;
    script->index++;
    command_encode(&(struct command){script->time_ms, operation, script->origin, script->index, args},
                   &bytes);
    struct slice payload = arena_copy(&script->arena, buffer_slice(&bytes));
    buffer_free(&bytes);
    if (!command_decode(payload, &script->arena, &command)) {
        fprintf(stderr, "%s does not come back from its binary form\n", operation->name);
        exit(1);
    }
    begin(script, &apply);
    coord_apply(&apply, &command);
    if (print) print_effects(script, &apply);
    check(script);
    return apply;
}

static void run_renewal(struct script *script, const struct operation *operation, const void *args)
{
    struct apply apply;
    struct lease_row row;
    begin(script, &apply);
    operation->renews(&apply, args);
    if (!apply.answers) {
        for (size_t i = 0; i < apply.renewal_count; i++)
            apply.renewals[i].renewed = lease_get(&apply, apply.renewals[i].lease, &row);
        operation->renewed(&apply, args, apply.renewals, apply.renewal_count);
    }
    print_effects(script, &apply);
}

static void run_query(struct script *script, const struct operation *operation, const void *args)
{
    struct apply apply;
    uint64_t digest = rows_digest(script->rows);
    begin(script, &apply);
    coord_query(&apply, operation, args);
    print_effects(script, &apply);
    if (rows_digest(script->rows) != digest) buffer_add_text(&script->out, "THE QUERY CHANGED THE ROWS\n");
}

/* The next word; 'quoted words' may hold blanks. */
static struct slice take_word(struct slice *line)
{
    while (line->size && *line->data == ' ') *line = slice_skip(*line, 1);
    size_t size = 0;
    bool quoted = false;
    for (; size < line->size && (quoted || line->data[size] != ' '); size++)
        quoted ^= line->data[size] == '\'';
    struct slice word = slice_of(line->data, size);
    *line = slice_skip(*line, size);
    return word;
}

static struct slice unquoted(struct slice word)
{
    bool quoted = word.size >= 2 && word.data[0] == '\'' && word.data[word.size - 1] == '\'';
    return quoted ? slice_of(word.data + 1, word.size - 2) : word;
}

static bool set_arguments(struct setting *setting, struct slice line)
{
    struct slice word;
    while ((word = take_word(&line)).size) {
        const uint8_t *equals = memchr(word.data, '=', word.size);
        size_t size = equals ? (size_t)(equals - word.data) : word.size;
        const struct field *field = record_field(setting->record, slice_of(word.data, size));
        if (!field || !equals) {
            setting->complaint = arena_printf(setting->arena, "unknown argument %.*s", SLICE_ARGS(word));
            return false;
        }
        if (!setting_text(setting, field, unquoted(slice_skip(word, size + 1)))) return false;
    }
    return setting_done(setting);
}

static void run_operation(struct script *script, struct slice name, struct slice line)
{
    const struct operation *operation = operation_by_name(name);
    if (!operation) {
        buffer_printf(&script->out, "unknown command %.*s\n", SLICE_ARGS(name));
        return;
    }
    void *args = arena_alloc(&script->arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &script->arena};
    if (!set_arguments(&setting, line))
        buffer_printf(&script->out, "refused: %.*s\n", SLICE_ARGS(setting.complaint));
    else if (operation->kind == OPERATION_COMMAND)
        run_command(script, operation, args, true);
    else if (operation->kind == OPERATION_QUERY)
        run_query(script, operation, args);
    else
        run_renewal(script, operation, args);
}

static void run_expire(struct script *script, struct slice line)
{
    struct lease_expire_item items[16] = {{0, 0}};
    struct lease_expire_args args = {script->term, {items, 0}};
    struct slice word;
    while ((word = take_word(&line)).size && args.items.count < 16) {
        struct apply apply;
        struct lease_row row = {0};
        struct lease_expire_item *item = &items[args.items.count++];
        begin(script, &apply);
        item->lease = lease_from_text(word);
        lease_get(&apply, item->lease, &row);
        item->generation = row.generation ? row.generation : 1;
    }
    run_command(script, operation_lease_expire, &args, true);
}

static uint64_t number(struct slice text)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

static void run_session(struct script *script, struct slice line)
{
    struct lease_session_args args = {number(take_word(&line)), 1, 10000};
    uint64_t origin = script->origin;
    script->origin = 0;
    struct apply apply = run_command(script, operation_lease_session, &args, true);
    script->origin = origin;
    for (const struct answer *answer = apply.answers; answer; answer = answer->next)
        if (answer->to_index == apply.index)
            script->origin = ((const struct lease_session_result *)answer->data)->lease;
}

static void run_cancel(struct script *script, struct slice line)
{
    struct wait_cancel_args args = {.index = number(take_word(&line))};
    args.reason = slice_is(take_word(&line), "timeout") ? END_TIMEOUT : END_CLIENT_GONE;
    run_command(script, operation_wait_cancel, &args, true);
}

static void print_events(struct script *script, uint64_t after)
{
    struct event *event;
    while ((event = events_next(script->rows, &script->arena, after))) {
        after = event->revision;
        for (; event; event = event->next) {
            buffer_printf(&script->out, "%llu %s %.*s ", (unsigned long long)event->revision,
                          event->kind->name, SLICE_ARGS(event->path));
            record_json(event->shape, event->data, &(struct json){&script->out, false});
            buffer_add_byte(&script->out, '\n');
        }
    }
}

static void print_count(struct script *script)
{
    size_t count = rows_memory_count(script->rows);
    struct slice key = {0}, value;
    struct key from = key_of(KEY_EVENT);
    while (rows_seek(script->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_EVENT) {
        count--;
        from.size = 0;
        key_bytes(&from, key);
        key_byte(&from, 0);
    }
    buffer_printf(&script->out, "%zu rows\n", count);
}

static void run(struct script *script, struct slice line)
{
    struct slice name = take_word(&line);
    if (slice_is(name, "expire"))
        run_expire(script, line);
    else if (slice_is(name, "cancel"))
        run_cancel(script, line);
    else if (slice_is(name, "session"))
        run_session(script, line);
    else if (slice_is(name, "origin"))
        script->origin = lease_from_text(take_word(&line));
    else if (slice_is(name, "term"))
        script->term = number(take_word(&line));
    else if (slice_is(name, "count"))
        print_count(script);
    else if (slice_is(name, "events")) {
        struct slice after = take_word(&line);
        print_events(script, after.size ? number(after) : script->index - 1);
    } else if (slice_is(name, "time")) {
        uint64_t ms = 0;
        duration_from_text(slice_skip(take_word(&line), 1), &ms);
        script->time_ms += ms;
    } else if (slice_is(name, "pulse")) {
        while (coord_wants_pulse(script->rows))
            run_command(script, operation_pulse, &(struct pulse_args){0}, true);
    } else if (slice_is(name, "due")) {
        while (coord_due_ms(script->rows) <= script->time_ms)
            run_command(script, operation_due, &(struct due_args){0}, true);
    } else
        run_operation(script, name, line);
}

static struct slice take_line(struct slice *text)
{
    const uint8_t *end = text->size ? memchr(text->data, '\n', text->size) : NULL;
    size_t size = end ? (size_t)(end - text->data) : text->size;
    struct slice line = slice_of(text->data, size);
    *text = slice_skip(*text, end ? size + 1 : size);
    return line;
}

static struct buffer read_all(const char *path)
{
    struct buffer all = {0};
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        exit(2);
    }
    for (size_t got = 1; got;) all.size += got = fread(buffer_reserve(&all, 65536), 1, 65536, file);
    fclose(file);
    return all;
}

/* Goes through the file; what it should look like comes out in `anew`. Returns how many blocks differ. */
static unsigned run_file(struct script *script, struct slice text, struct buffer *anew)
{
    unsigned wrong = 0, number_ = 0;
    while (text.size) {
        struct slice line = take_line(&text);
        number_++;
        buffer_printf(anew, "%.*s\n", SLICE_ARGS(line));
        if (!slice_starts_with(line, SLICE("> "))) continue;
        struct slice expected = slice_of(text.data, 0);
        unsigned at = number_;
        while (text.size && *text.data != '\n' && *text.data != '>' && *text.data != '#') {
            take_line(&text);
            number_++;
            expected.size = (size_t)(text.data - expected.data);
        }
        script->out.size = 0;
        run(script, slice_skip(line, 2));
        arena_reset(&script->arena);
        buffer_add_slice(anew, buffer_slice(&script->out));
        if (slice_equal(expected, buffer_slice(&script->out))) continue;
        wrong++;
        fprintf(stderr, "line %u: %.*s\nexpected:\n%.*scame:\n%.*s\n", at, SLICE_ARGS(line),
                SLICE_ARGS(expected), SLICE_ARGS(buffer_slice(&script->out)));
    }
    return wrong;
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    struct script script = {.rows = rows_memory_new(), .term = 1, .time_ms = 1000000000000};
    struct buffer text = read_all(argv[1]), anew = {0};
    unsigned wrong = run_file(&script, buffer_slice(&text), &anew);
    if (getenv("REWRITE") && wrong) {
        FILE *file = fopen(argv[1], "we");
        if (!file || fwrite(anew.data, 1, anew.size, file) != anew.size || fclose(file)) return 2;
    }
    buffer_free(&text);
    buffer_free(&anew);
    buffer_free(&script.out);
    arena_free(&script.arena);
    rows_memory_free(script.rows);
    return wrong ? 1 : 0;
}
