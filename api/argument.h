/* Setting one argument of a call from outside, with the refusal that names it. What path, query and body
 * share. */
#ifndef COORDD_API_ARGUMENT_H
#define COORDD_API_ARGUMENT_H

#include "api/problem.h"

/* The arguments under construction. `within` is the path of the enclosing field, "items[3]."; empty at the
 * top. */
struct argument {
    struct setting setting;
    struct slice within;
    struct problem *problem;
    const char *skipped;                   /* a member of the object that is no field; NULL: none */
    const struct field *record;            /* of the enclosing record, when these are a record in it */
    struct argument *nested, *next_nested; /* records that are given by their members, "claim.max" */
};

/* Refuses with BAD_FIELD: always false. `what` completes the sentence that begins with the field's path. */
bool argument_refuse(struct argument *argument, struct slice field, const char *what);
/* Refuses with what the setting complained of. */
bool argument_refuse_complaint(struct argument *argument, const struct field *field);
/* The field of that name; NULL, refused, when there is none or it was given already, wherever. */
const struct field *argument_field(struct argument *argument, struct slice name);
bool argument_text(struct argument *argument, const struct field *field, struct slice text);
/* The same by name, which may lead into records: "claim.max". */
bool argument_named(struct argument *argument, struct slice name, struct slice text);
/* All was given: initial values, required fields, of records begun by argument_named too. */
bool argument_done(struct argument *argument);

#endif
