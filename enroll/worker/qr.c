/*
 * qr: a text as a QR code in SVG. Pure. Runs in the worker of easenroll.
 */
#include "enroll/worker/qr.h"

#include <qrencode.h>

#include "common/text.h"

#define QUIET 4		/* modules around the code, ISO/IEC 18004 §6.3.8 */

static bool text_is_good(const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= QR_TEXT_MAX;
}

static bool title_is_good(const char *title)
{
	struct strv v = strv_from(title);

	return v.n > 0 && v.n <= QR_TITLE_MAX && text_is_clean(v);
}

static int put_escaped(struct buffer *b, const char *text)
{
	for (; *text != '\0'; text++) {
		const char *as = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;

		if (as != NULL ? buffer_addv(b, strv_from(as)) < 0 : buffer_add(b, text, 1) < 0)
			return -1;
	}
	return 0;
}

/* One row: runs of dark modules as "M x y h n v1 h-n z". */
static int put_row(struct buffer *b, const unsigned char *row, int width, int y)
{
	for (int x = 0; x < width;) {
		int from = x;

		while (x < width && (row[x] & 1) != 0)
			x++;
		if (x > from && buffer_printf(b, "M%d %dh%dv1h-%dz", from + QUIET, y + QUIET, x - from, x - from) < 0)
			return -1;
		if (x == from)
			x++;
	}
	return 0;
}

static int put_code(struct buffer *b, const QRcode *code, const char *title)
{
	int size = code->width + 2 * QUIET;

	if (buffer_printf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" shape-rendering=\"crispEdges\"><title>",
		size, size) < 0 || put_escaped(b, title) < 0 ||
	    buffer_printf(b, "</title><path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/><path fill=\"#000\" d=\"", size, size) < 0)
		return -1;
	for (int y = 0; y < code->width; y++)
		if (put_row(b, code->data + (size_t)y * (size_t)code->width, code->width, y) < 0)
			return -1;
	return buffer_addv(b, STRV("\"/></svg>"));
}

int qr_svg(const char *text, const char *title, struct buffer *out)
{
	struct buffer svg;
	QRcode *code;
	int r = -1;

	if (!text_is_good(text) || !title_is_good(title))
		return -1;
	code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
	if (code == NULL)
		return -1;
	buffer_init(&svg, QR_SVG_MAX);
	if (put_code(&svg, code, title) == 0)
		r = buffer_addv(out, buffer_view(&svg));
	buffer_clear(&svg);
	QRcode_free(code);
	return r;
}
