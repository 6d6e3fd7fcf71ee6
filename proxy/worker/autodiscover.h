/*
 * autodiscover: the Autodiscover answer that we give ourselves: reads the request, prints the
 * response. Pure. Whose mailbox it is says the certificate: the caller compares the request's
 * address with the account's names.
 *
 * Facts: MS-ASCMD 2.2.1.1 (Autodiscover), 2.2.3.63 (Error), 2.2.3.64 (ErrorCode).
 */
#ifndef EASGATE_AUTODISCOVER_H
#define EASGATE_AUTODISCOVER_H

#include "common/buffer.h"

#include <time.h>

#define AUTODISCOVER_BODY_MAX 16384 /* bytes of a request body that are read */
#define AUTODISCOVER_MOBILESYNC                                                                    \
	"http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"

enum autodiscover_result {
	AUTODISCOVER_OK = 0,
	AUTODISCOVER_BAD_XML = -400, /* malformed, not UTF-8, or too large */
	AUTODISCOVER_BAD_DOCTYPE,    /* a document type, an entity of its own or a processing
					instruction */
	AUTODISCOVER_BAD_REQUEST, /* no Autodiscover request, or one without exactly one address and
				     one schema */
	AUTODISCOVER_BAD_ADDRESS, /* not name@domain, too long, or bytes that no address holds */
	AUTODISCOVER_NO_MEMORY,
};
const char *autodiscover_result_text(enum autodiscover_result result);

struct autodiscover_request {
	char address[256]; /* e-mail address as the device wrote it, trimmed */
	char schema[256];  /* AcceptableResponseSchema */
	bool mobilesync;   /* the schema is the one that we serve */
};

/*
 * Reads a request body. The XML is parsed without network, document type or entities; any other
 * encoding than UTF-8 (or its part US-ASCII) is refused. *out is written only for AUTODISCOVER_OK.
 */
enum autodiscover_result autodiscover_read(struct autodiscover_request *out, struct strv body);

struct autodiscover_answer {
	struct strv culture;      /* "en:us" */
	struct strv display_name; /* may be empty: then the address stands in its place */
	struct strv address;      /* of the account, not of the request */
	struct strv url;          /* of /Microsoft-Server-ActiveSync */
};

/*
 * Appends the whole XML document, values escaped. 0, or -1: a value with control bytes or no UTF-8,
 * or no room.
 */
MUST_CHECK int autodiscover_print(struct buffer *out, const struct autodiscover_answer *answer);

enum autodiscover_error {
	AUTODISCOVER_INVALID_REQUEST = 600,
	AUTODISCOVER_NO_PROVIDER = 601, /* for the schema asked for */
};

/*
 * Appends the Error form, for a request that cannot be read or asks for another schema. `now`: UTC.
 * 0 or -1: no room.
 */
MUST_CHECK int autodiscover_print_error(
    struct buffer *out, enum autodiscover_error error, const struct timespec *now);

#endif
