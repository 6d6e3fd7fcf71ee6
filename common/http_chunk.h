/*
 * http_chunk: strict incremental decoding of the chunked coding (RFC 9112 §7.1). Pure, zero-copy.
 *
 * Refused: sizes that are not 1*HEXDIG, exceed 16 digits, 2^63 - 1 or the limit, any white space, bare CR or LF, chunk
 * extensions that are not *( ";" token [ "=" ( token / quoted-string ) ] ), hold control bytes or bytes above 0x7f, or
 * are longer than 256 bytes (accepted ones are dropped), a missing CRLF behind the data.
 * Trailer fields are checked like head fields and dropped, whatever their names; together at most 4096 bytes.
 * A refusal is final: every later call is HTTP_BAD_CHUNK.
 */
#ifndef EASGATE_HTTP_CHUNK_H
#define EASGATE_HTTP_CHUNK_H

#include "common/http_head.h"

struct http_chunk {		/* zero-initialise, then set max_body */
	unsigned state;
	unsigned digits, line;	/* length of the number; of extension or trailer so far */
	uint64_t left;		/* bytes of data still to come in this chunk */
	uint64_t total;		/* data bytes seen */
	uint64_t max_body;	/* more data than this is HTTP_TOO_LARGE; 0: no limit */
};

/*
 * Reads from p (n bytes). *used: bytes consumed; *data: a run of body bytes inside them (may be empty), given out
 * as they stand in p. Call until *used == n or the result is not HTTP_MORE: each call yields at most one run.
 * HTTP_DONE: the last chunk and the trailer have been read; what follows in p is another message.
 */
enum http_result http_chunk_read(struct http_chunk *c, const char *p, size_t n, size_t *used, struct strv *data);

#endif
