/*
 * ndes: the page that device managers read a one-time challenge from: /certsrv/mscep_admin/, byte for byte as Windows' Network Device Enrollment
 * Service writes it. HTTP Basic over TLS, members of ndes.group only. Worker of easenroll.
 *
 * Query: user=<name> whose certificate it will be (else the caller's own), device=<id> of the registry (else any), charset=utf-8
 * (else UTF-16LE with a byte order mark, as Windows does, whatever the page's META says).
 */
#ifndef EASGATE_ENROLL_NDES_H
#define EASGATE_ENROLL_NDES_H

#include "common/buffer.h"
#include "enroll/worker/route.h"

struct ndes;

/* Borrows w. NULL: why says what and the cure. */
struct ndes *ndes_new(struct enroll_worker *w, char *why, size_t why_size);
/* Requests under way are dropped: the HTTP server frees them. Accepts NULL. */
void ndes_free(struct ndes *n);

extern const struct route ndes_routes[];	/* ends with .methods == NULL */

/* What the page says. thumbprint: 16 bytes (MD5 of the CA's certificate), with challenge; else only one of the two sentences. */
enum ndes_page { NDES_CHALLENGE, NDES_CACHE_FULL, NDES_NO_PERMISSION };
/* Appends the page. 0 or -1. */
MUST_CHECK int ndes_page(struct buffer *out, enum ndes_page what, const uint8_t *thumbprint, const char *challenge, unsigned minutes, bool utf8);

#endif
