#include "api/gate.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { HOST_MAX = 255 };

struct gate {
    bool any, any_address;
    struct buffer names; /* lower case, each followed by a NUL */
};

static bool same_text(struct slice a, const char *lower, size_t size)
{
    if (a.size != size) return false;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = a.data[i];
        if (byte >= 'A' && byte <= 'Z') byte |= 0x20;
        if (byte != (uint8_t)lower[i]) return false;
    }
    return true;
}

/* Cuts ":PORT" off; addresses in brackets keep them. False when it is no host at all. */
static bool host_name(struct slice authority, struct slice *name)
{
    size_t size = 0, port = 0;
    if (authority.size && authority.data[0] == '[')
        while (size < authority.size && authority.data[size++] != ']') continue;
    else
        while (size < authority.size && authority.data[size] != ':') size++;
    *name = slice_of(authority.data, size);
    for (size_t i = size; i < authority.size; i++) {
        uint8_t byte = authority.data[i];
        if (i == size ? byte != ':' : byte < '0' || byte > '9' || ++port > 5) return false;
    }
    if (size && name->data[0] == '[') return size > 2 && size <= HOST_MAX && name->data[size - 1] == ']';
    if (size > 1 && name->data[size - 1] == '.') name->size--;
    return name->size > 0 && name->size <= HOST_MAX;
}

static void add_name(struct gate *gate, struct slice name)
{
    if (!name.size || name.size > HOST_MAX) return;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        buffer_add_byte(&gate->names, byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
    }
    buffer_add_byte(&gate->names, 0);
}

static void add_listen_host(struct gate *gate, const char *listen)
{
    struct slice name;
    if (!host_name(slice_text(listen), &name)) return;
    add_name(gate, name);
    gate->any_address = slice_is(name, "0.0.0.0") || slice_is(name, "[::]") || slice_is(name, "*");
}

struct gate *gate_new(const char *listen, const char *node, const char *hosts)
{
    struct gate *gate = memory_new(sizeof *gate);
    add_name(gate, SLICE("127.0.0.1"));
    add_name(gate, SLICE("localhost"));
    add_name(gate, SLICE("[::1]"));
    if (node) add_name(gate, slice_text(node));
    add_listen_host(gate, listen);
    while (hosts && *hosts) {
        hosts += strspn(hosts, ", ");
        size_t size = strcspn(hosts, ", ");
        if (size == 1 && *hosts == '*') gate->any = true;
        add_name(gate, slice_of(hosts, size));
        hosts += size;
    }
    return gate;
}

void gate_free(struct gate *gate)
{
    buffer_free(&gate->names);
    free(gate);
}

static bool is_listed(const struct gate *gate, struct slice name)
{
    const char *at = (const char *)gate->names.data, *end = at + gate->names.size;
    for (size_t size; at < end; at += size + 1) {
        size = strlen(at);
        if (same_text(name, at, size)) return true;
    }
    return false;
}

static bool is_allowed_address(const struct gate *gate, struct slice name)
{
    char text[INET6_ADDRSTRLEN + 2];
    if (name.size >= sizeof text) return false;
    bool six = name.data[0] == '[';
    if (six) name = slice_of(name.data + 1, name.size - 2);
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    struct in_addr four;
    struct in6_addr address;
    if (six)
        return inet_pton(AF_INET6, text, &address) == 1 &&
               (gate->any_address || IN6_IS_ADDR_LOOPBACK(&address));
    if (inet_pton(AF_INET, text, &four) != 1) return false;
    return gate->any_address || ntohl(four.s_addr) >> 24 == 127;
}

static bool check_host(const struct gate *gate, const struct request_head *head, struct problem *problem)
{
    struct slice name;
    if (!head->host.data) {
        problem->outcome = OUTCOME_BAD_REQUEST;
        problem->detail = SLICE("the request has no Host header");
    } else if (!host_name(head->host, &name)) {
        problem->outcome = OUTCOME_BAD_REQUEST;
        problem->detail = SLICE("the Host header is malformed");
    } else if (gate->any || is_listed(gate, name) || is_allowed_address(gate, name)) {
        return true;
    } else {
        problem->outcome = OUTCOME_BAD_HOST;
        problem->detail =
            SLICE("the Host header names neither this node nor a name it was told to answer to");
    }
    return false;
}

/* A page may ask the server that it came from: then Origin is http(s):// and the Host of the request. */
static bool same_origin(struct slice origin, struct slice host)
{
    if (slice_starts_with(origin, SLICE("http://")))
        origin = slice_skip(origin, 7);
    else if (slice_starts_with(origin, SLICE("https://")))
        origin = slice_skip(origin, 8);
    else
        return false;
    return slice_equal(origin, host);
}

static bool check_site(const struct request_head *head, struct problem *problem)
{
    bool foreign =
        slice_is(head->site, "cross-site") || (head->origin.size && !same_origin(head->origin, head->host));
    if (foreign) problem->outcome = OUTCOME_CROSS_SITE;
    return !foreign;
}

bool gate_admits(const struct gate *gate, const struct request_head *head, bool open, struct problem *problem)
{
    if (head->header_bytes > GATE_HEADERS_MAX) {
        problem->outcome = OUTCOME_HEADERS_TOO_LARGE;
        problem->limit = GATE_HEADERS_MAX;
        return false;
    }
    if (head->nameless || (head->has_body && head->version < GATE_VERSION_1_1)) {
        problem->outcome = OUTCOME_BAD_REQUEST;
        problem->detail = head->nameless ? SLICE("a header has no name (a folded line?)")
                                         : SLICE("a request with a body needs HTTP/1.1");
        return false;
    }
    return open || (check_host(gate, head, problem) && check_site(head, problem));
}
