/*
 * certificate_text: which text of a certificate can name somebody. Pure; runs in every process.
 * Must not change a byte: what is no clean name is refused.
 */
#include "common/certificate_parts.h"

#include <openssl/asn1.h>

#include "common/text.h"

/*
 * Characters that matching rules drop (RFC 4518 §2.2), fold onto others, or that combine: with them
 * one name has several spellings. Letters with accents in their composed form pass.
 */
static const struct {
	uint32_t first, last;
} refused[] = {
	{ 0x00a0, 0x00a0 }, /* no-break space */
	{ 0x00ad, 0x00ad }, /* soft hyphen */
	{ 0x0130, 0x0131 }, /* I with dot, i without */
	{ 0x017f, 0x017f }, /* long s, folds to s */
	{ 0x0300, 0x036f }, /* combining marks */
	{ 0x061c, 0x061c }, /* Arabic letter mark */
	{ 0x115f, 0x1160 }, /* fillers */
	{ 0x1680, 0x1680 }, { 0x17b4, 0x17b5 }, { 0x180b, 0x180f }, { 0x1ab0, 0x1aff },
	{ 0x1dc0, 0x1dff }, { 0x2000, 0x200f }, /* spaces, zero-width, directional marks */
	{ 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x20d0, 0x20ff },
	{ 0x2126, 0x2126 }, /* Ohm, Kelvin, Angstrom: fold to letters */
	{ 0x212a, 0x212b }, { 0x3000, 0x3000 }, { 0x3164, 0x3164 },
	{ 0xd800, 0xf8ff }, /* surrogates, private use */
	{ 0xfb00, 0xfb06 }, /* ligatures */
	{ 0xfe00, 0xfe0f }, /* variation selectors */
	{ 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff },
	{ 0xff00, 0xffef },			  /* full width and half width forms */
	{ 0xfff0, 0xffff }, { 0x1d400, 0x1d7ff }, /* mathematical letters */
	{ 0xe0000, 0x10ffff },			  /* tags, private use */
};

/* One character of text that is known to be well-formed UTF-8; moves *at behind it. */
static uint32_t next_char(struct strv text, size_t *at)
{
	uint8_t lead = (uint8_t)text.p[*at];
	unsigned more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
	uint32_t c = more == 0 ? lead : lead & (0x3fu >> more);

	for (*at += 1; more > 0 && *at < text.n; more--, *at += 1)
		c = c << 6 | ((uint8_t)text.p[*at] & 0x3fu);
	return c;
}

static bool has_one_spelling(struct strv text)
{
	size_t at = 0;

	while (at < text.n) {
		uint32_t c = next_char(text, &at);

		for (size_t i = 0; c > 0x7f && i < ARRAY_LEN(refused); i++) {
			if (c >= refused[i].first && c <= refused[i].last)
				return false;
		}
	}
	return true;
}

enum cert_result cert_text(char *out, size_t size, struct strv text)
{
	out[0] = '\0';
	if (text.n == 0)
		return CERT_MALFORMED;
	if (text.n >= size)
		return CERT_TOO_LONG;
	if (!text_is_clean(text) || !has_one_spelling(text))
		return CERT_BAD_TEXT;
	if (text.p[0] == ' ' || text.p[text.n - 1] == ' ')
		return CERT_BAD_TEXT;
	return text_copy(out, size, text) == 0 ? CERT_OK : CERT_BAD_TEXT;
}

static bool is_ascii(struct strv text)
{
	for (size_t i = 0; i < text.n; i++) {
		if ((uint8_t)text.p[i] > 0x7f)
			return false;
	}
	return true;
}

enum cert_result cert_string(char *out, size_t size, const ASN1_STRING *string)
{
	int type = ASN1_STRING_type(string);
	int n = ASN1_STRING_length(string);
	struct strv text = { (const char *)ASN1_STRING_get0_data(string), n > 0 ? (size_t)n : 0 };

	out[0] = '\0';
	if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING && type != V_ASN1_IA5STRING)
		return CERT_BAD_TEXT;
	if (type != V_ASN1_UTF8STRING && !is_ascii(text))
		return CERT_BAD_TEXT;
	return cert_text(out, size, text);
}
