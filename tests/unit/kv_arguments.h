/* Arguments of operations and answers to them, by the names of their fields. */
#ifndef COORDD_TESTS_KV_ARGUMENTS_H
#define COORDD_TESTS_KV_ARGUMENTS_H

#include "coord/operation.h"
#include "tests/unit/cmocka_all.h"

static struct arena arena;

/* --- answers --- */

static inline const void *field_at(const struct record *shape, const void *data, const char *name)
{
    const struct field *field = record_field(shape, slice_text(name));
    assert_non_null(field);
    return (const char *)data + field->offset;
}

static inline struct slice bytes_at(const struct record *shape, const void *data, const char *name)
{
    struct slice bytes;
    memcpy(&bytes, field_at(shape, data, name), sizeof bytes);
    return bytes;
}

static inline bool flag_at(const struct record *shape, const void *data, const char *name)
{
    bool flag;
    memcpy(&flag, field_at(shape, data, name), sizeof flag);
    return flag;
}

static inline const void *pointer_at(const struct record *shape, const void *data, const char *name)
{
    const void *pointer;
    memcpy(&pointer, field_at(shape, data, name), sizeof pointer);
    return pointer;
}

/* --- arguments --- */

struct args {
    struct setting setting;
    const struct operation *operation;
};

static inline struct args args_of(const char *name)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    void *data = arena_alloc(&arena, operation->args->size);
    return (struct args){{.record = operation->args, .data = data, .arena = &arena}, operation};
}

static inline const struct field *field_of(struct args *args, const char *name)
{
    const struct field *field = record_field(args->operation->args, slice_text(name));
    assert_non_null(field);
    return field;
}

static inline void set_bytes(struct args *args, const char *name, struct slice bytes)
{
    assert_true(setting_bytes(&args->setting, field_of(args, name), bytes));
}

static inline void set_text(struct args *args, const char *name, struct slice text)
{
    assert_true(setting_text(&args->setting, field_of(args, name), text));
}

static inline void set_number(struct args *args, const char *name, uint64_t number)
{
    assert_true(setting_uint(&args->setting, field_of(args, name), number));
}

static inline void set_true(struct args *args, const char *name)
{
    assert_true(setting_bool(&args->setting, field_of(args, name), true));
}

static inline void set_lease(struct args *args, const char *name, uint64_t lease)
{
    set_text(args, name, arena_printf(&arena, "L%llx", (unsigned long long)lease));
}

#endif
