/* Watches and waits (api.md 1): what a stream of events, or a request that waits for events, asks for. The
 * node that has the client serves them (coordd/watch.h); nothing of them is in the log or in the rows.
 *
 * A primitive with a stream of its own gives the operation the kind OPERATION_STREAM and a hook `watch` that
 * fills in the request with the functions below: see election.observe. */
#ifndef COORDD_COORD_PRIMITIVE_WATCH_H
#define COORDD_COORD_PRIMITIVE_WATCH_H

#include "coord/operation.h"

enum { WATCH_CODE = 8, WATCH_SCOPES_MAX = 16, WATCH_TYPES_MAX = 16 };

/* Which objects: the one at `path`, or all whose paths begin with it. */
struct watch_scope {
    struct slice path;
    bool prefix;
};

/* Of a stream (it has one scope), or of a QUERY that answers OUTCOME_UNCHANGED until something touches one
 * of its scopes. The hook gets it zeroed. From which revision on a stream goes is not the hook's: clients say
 * so by `since` or Last-Event-ID, and then `initial` does not count. */
struct watch_request {
    struct watch_scope scopes[WATCH_SCOPES_MAX];
    size_t scope_count;
    struct list types;    /* struct slice: names of the kinds of events wanted; empty: all */
    bool initial;         /* STREAM: an event "present" for each object that there is, first */
    uint64_t revision;    /* QUERY: run it again when this revision is applied; 0: none */
    struct slice refusal; /* a sentence: refused with OUTCOME_SENSELESS */
    /* STREAM that holds something as long as it is open. This command is done first, as the client's own; its
     * refusal is the answer. Its result is the data of the first event, "held", and its `undo` is done when
     * the client is gone. The stream ends after an event of one of `ends` whose data has the result's token.
     * What is granted should hang on the session of the node (apply->origin), so that it ends with the node.
     */
    const struct operation *first;
    const void *first_args; /* in the arena */
    struct list ends;       /* struct slice */
};

/* Adds the object `parent` + name ("/locks/", name), or with `prefix` all whose paths begin so. */
void watch_scope_add(struct watch_request *request, struct arena *arena, const char *parent,
                     struct slice name, bool prefix);
/* Only kinds of events of these names: NULL-terminated. */
void watch_types_are(struct watch_request *request, struct arena *arena, const char *const *names);
bool watch_scope_holds(const struct watch_scope *scope, struct slice path);
/* Fills `request` from an `object` template of a QUERY ("/locks/{name}", "/locks/{prefix}*") and its
 * arguments. */
void watch_object(struct watch_request *request, struct arena *arena, const char *object,
                  const struct record *record, const void *args);

/* Refusals of streams: OUTCOME_REVISION_GONE with the oldest revision that is left. */
struct watch_refused {
    uint64_t oldest, revision;
};
extern const struct record watch_refused_record;
extern const struct primitive watch_primitive;

#endif
