/* See talk.h. coordd: JSON over HTTP, batches as arrays, `next` to finish and claim in one request.
 * beanstalkd and redis: as many commands as there are tasks, all in one write (pipelined); LPUSH takes all
 * values at once. A claim of redis moves a task to a list of the client's own, so that it is not lost with
 * the client. */
#include "talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct text {
    char *at;
    size_t size, room;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int size = vsnprintf(text->at + text->size, text->room - text->size, format, list);
    va_end(list);
    if (size < 0 || (size_t)size >= text->room - text->size) fail("a request is too long");
    text->size += (size_t)size;
}

void payload_next(struct client *client, char *text)
{
    int size =
        snprintf(text, PAYLOAD + 1, "%d-%d-%llu-", (int)getpid(), client->connection.number, client->made++);
    memset(text + size, 'x', (size_t)(PAYLOAD - size));
    text[PAYLOAD] = 0;
}

/* --- coordd --- */

/* As JSON the payload has quotes: with them it is PAYLOAD bytes. */
static void add_task(struct text *text, struct client *client)
{
    char payload[PAYLOAD + 1];
    payload_next(client, payload);
    payload[PAYLOAD - 2] = 0;
    add(text, "{\"payload\":\"%s\"}", payload);
}

static void add_done(struct text *text, const struct client *client)
{
    add(text, "\"done\":[");
    for (int i = 0; i < client->claimed; i++)
        add(text, "%s{\"id\":\"%s\",\"token\":%llu}", i ? "," : "", client->tasks[i].id,
            client->tasks[i].token);
    add(text, "]");
}

static size_t add_request(struct text *text, const char *queue, const char *path, const struct text *body)
{
    add(text, "POST /v1/queues/%s/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", queue, path,
        body->size);
    if (body->size >= text->room - text->size) fail("a request is too long");
    memcpy(text->at + text->size, body->at, body->size);
    return text->size + body->size;
}

static size_t ask_coordd(struct client *client, char *at, size_t room)
{
    static char body_text[ROOM];
    struct text text = {.at = at, .room = room}, body = {.at = body_text, .room = sizeof body_text};
    char path[200] = "tasks";
    switch (client->step) {
    case ENQUEUE:
        if (client->count == 1) {
            add_task(&body, client);
            break;
        }
        for (int i = 0; i < client->count; i++) {
            add(&body, i ? "," : "[");
            add_task(&body, client);
        }
        add(&body, "]");
        break;
    case CLAIM:
        snprintf(path, sizeof path, "claim?worker=w%d&max=%d", client->connection.number, client->count);
        break;
    case COMPLETE:
    case STEPS:
        snprintf(path, sizeof path, "tasks/%s/complete?token=%llu", client->tasks[0].id,
                 client->tasks[0].token);
        break;
    }
    return add_request(&text, client->queue, path, &body);
}

static size_t ask_coordd_next(struct client *client, char *at, size_t room)
{
    static char body_text[ROOM];
    struct text text = {.at = at, .room = room}, body = {.at = body_text, .room = sizeof body_text};
    if (client->step == ENQUEUE || (client->step == CLAIM && client->claimed == 0))
        return ask_coordd(client, at, room);
    add(&body, "{");
    add_done(&body, client);
    if (client->step == CLAIM)
        add(&body, ",\"claim\":{\"worker\":\"w%d\",\"max\":%d}", client->connection.number, client->count);
    add(&body, "}");
    return add_request(&text, client->queue, "next", &body);
}

static bool whole_coordd(struct client *client)
{
    return http_whole(&client->connection);
}

/* The tasks of {"tasks":[{"id":"..","token":..,...},...]}; after a `next` it is another list that says "id"
 * without a token behind it, before this one or after. */
static void take_tasks(struct client *client)
{
    const char *at = strstr(client->connection.answer, "\"tasks\":[");
    client->claimed = 0;
    while (at && client->claimed < client->count && (at = strstr(at, "\"id\":\""))) {
        const char *token = strstr(at, "\"token\":");
        if (!token) break;
        struct task *task = &client->tasks[client->claimed++];
        at += 6;
        size_t size = strcspn(at, "\"");
        if (size > PAYLOAD) fail("an id is too long");
        memcpy(task->id, at, size);
        task->id[size] = 0;
        task->token = strtoull(token + 8, NULL, 10);
        at = token;
    }
}

static bool take_coordd(struct client *client)
{
    if (client->connection.answer[9] != '2') return false;
    if (client->step == CLAIM) take_tasks(client);
    return true;
}

const struct talk talk_coordd = {"coordd", false, ask_coordd, whole_coordd, take_coordd};
const struct talk talk_coordd_next = {"coordd-next", true, ask_coordd_next, whole_coordd, take_coordd};

/* --- systems that answer in lines --- */

static bool lines_are(struct client *client, int wanted)
{
    const struct connection *c = &client->connection;
    for (const char *end; client->scanned < c->size &&
                          (end = memchr(c->answer + client->scanned, '\n', c->size - client->scanned));) {
        client->scanned = (size_t)(end + 1 - c->answer);
        client->lines++;
    }
    return client->lines >= wanted;
}

static const char *next_line(const char *at)
{
    return strchr(at, '\n') + 1;
}

/* Each of `count` answers is a line that starts so. */
static bool lines_say(const struct client *client, const char *start, int count)
{
    const char *at = client->connection.answer;
    for (int i = 0; i < count; i++, at = next_line(at))
        if (strncmp(at, start, strlen(start)) != 0) return false;
    return true;
}

static size_t ask_beanstalkd(struct client *client, char *at, size_t room)
{
    struct text text = {.at = at, .room = room};
    char payload[PAYLOAD + 1];
    for (int i = 0; i < client->count; i++) {
        switch (client->step) {
        case ENQUEUE:
            payload_next(client, payload);
            add(&text, "put 8 0 120 %d\r\n%s\r\n", PAYLOAD, payload);
            break;
        case CLAIM:
            add(&text, "reserve-with-timeout 10\r\n");
            break;
        case COMPLETE:
        case STEPS:
            add(&text, "delete %s\r\n", client->tasks[i].id);
            break;
        }
    }
    return text.size;
}

/* An error of a claim has one line, not two: then this waits, and the run says so by its figures. */
static bool whole_beanstalkd(struct client *client)
{
    return lines_are(client, client->step == CLAIM ? 2 * client->count : client->count);
}

static bool take_beanstalkd(struct client *client)
{
    if (client->step == ENQUEUE) return lines_say(client, "INSERTED ", client->count);
    if (client->step == COMPLETE) return lines_say(client, "DELETED", client->count);
    const char *at = client->connection.answer;
    client->claimed = 0;
    for (int i = 0; i < client->count; i++, at = next_line(next_line(at)))
        if (sscanf(at, "RESERVED %20s", client->tasks[client->claimed++].id) != 1) return false;
    return true;
}

const struct talk talk_beanstalkd = {"beanstalkd", false, ask_beanstalkd, whole_beanstalkd, take_beanstalkd};

static void add_bulk(struct text *text, const char *value)
{
    add(text, "$%zu\r\n%s\r\n", strlen(value), value);
}

static size_t ask_redis(struct client *client, char *at, size_t room)
{
    struct text text = {.at = at, .room = room};
    char payload[PAYLOAD + 1], own[64];
    snprintf(own, sizeof own, "%s:of:%d", client->queue, client->connection.number);
    if (client->step == ENQUEUE) {
        add(&text, "*%d\r\n$5\r\nLPUSH\r\n", client->count + 2);
        add_bulk(&text, client->queue);
    }
    for (int i = 0; i < client->count; i++) {
        switch (client->step) {
        case ENQUEUE:
            payload_next(client, payload);
            add_bulk(&text, payload);
            break;
        case CLAIM:
            add(&text, "*5\r\n$5\r\nLMOVE\r\n");
            add_bulk(&text, client->queue);
            add_bulk(&text, own);
            add(&text, "$5\r\nRIGHT\r\n$4\r\nLEFT\r\n");
            break;
        case COMPLETE:
        case STEPS:
            add(&text, "*4\r\n$4\r\nLREM\r\n");
            add_bulk(&text, own);
            add(&text, "$2\r\n-1\r\n");
            add_bulk(&text, client->tasks[i].id);
            break;
        }
    }
    return text.size;
}

static bool whole_redis(struct client *client)
{
    return lines_are(client, client->step == ENQUEUE ? 1
                             : client->step == CLAIM ? 2 * client->count
                                                     : client->count);
}

static bool take_redis(struct client *client)
{
    if (client->step == ENQUEUE) return lines_say(client, ":", 1);
    if (client->step == COMPLETE) return lines_say(client, ":1", client->count);
    const char *at = client->connection.answer;
    client->claimed = 0;
    for (int i = 0; i < client->count; i++, at = next_line(at)) {
        if (atoi(at + 1) != PAYLOAD) return false;
        at = next_line(at);
        memcpy(client->tasks[client->claimed].id, at, PAYLOAD);
        client->tasks[client->claimed++].id[PAYLOAD] = 0;
    }
    return true;
}

const struct talk talk_redis = {"redis", false, ask_redis, whole_redis, take_redis};
