/*
 * asker: a worker's way to one other process, whichever process stands behind it now. A question that was cut off by
 * the other's death, or that finds nobody yet, waits for the replacement inside its own deadline; nothing is asked twice
 * of the same process, and a secret (WIRE_SECRET) of one process only: who dies with it is answered WIRE_CLOSED.
 */
#ifndef EASGATE_COMMON_ASKER_H
#define EASGATE_COMMON_ASKER_H

#include "common/wire.h"

struct asker;

/* verbs: what the other process may tell us; borrowed. Their `serve` gets the asker as its arg: asker_owner() gives `owner`. */
struct asker *asker_new(struct loop *loop, const char *name, const struct wire_verb *verbs, void *owner);
void *asker_owner(struct asker *a);
/* No callback runs any more. Accepts NULL. */
void asker_free(struct asker *a);
/* A new wire (takes fd): questions go there from now on; the old one may still answer what it was asked. */
void asker_link(struct asker *a, int fd);
bool asker_is_up(const struct asker *a);

/* As wire_ask: 0 when too many wait. done runs once, from the loop, with WIRE_TIMEOUT at the latest after timeout_ms. */
MUST_CHECK uint64_t asker_ask(struct asker *a, uint16_t verb, const void *body, size_t n, unsigned timeout_ms,
    wire_done_fn *done, void *arg);
/* Harmless for 0, unknown numbers and a == NULL. */
void asker_cancel(struct asker *a, uint64_t number);
void asker_tell(struct asker *a, uint16_t verb, const void *body, size_t n);

#endif
