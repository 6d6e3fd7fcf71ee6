/*
 * qr: a text as a QR code in SVG, for a phone's camera to read from a screen. Pure. Runs in the worker of easenroll.
 */
#ifndef EASGATE_ENROLL_QR_H
#define EASGATE_ENROLL_QR_H

#include "common/buffer.h"

#define QR_TYPE	    "image/svg+xml"
#define QR_TEXT_MAX 512		/* bytes: what cameras still read easily at level M */
#define QR_TITLE_MAX 128
#define QR_SVG_MAX  131072	/* what the buffer should allow at least */

/*
 * Appends one <svg> element (no XML declaration: it stands in a page or alone): black on white whatever the page's colours, a quiet zone
 * of four modules, role="img" and `title` as its name for screen readers (escaped here). `text` is visible ASCII, as a URL is: the
 * encoding of anything else is guessed, and cameras guess differently. 0, or -1 and nothing is appended: text or title empty, too
 * long or unclean, or no memory.
 */
MUST_CHECK int qr_svg(const char *text, const char *title, struct buffer *out);

#endif
