/*
 * wbxml: the check of the form, and the two conversions.
 * libwbxml2 parses by recursion: depth and number of elements are bounded before it starts.
 * Part of the sample mail server, which runs as one process.
 */
#include "wbxml.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <wbxml/wbxml.h>
#include <wbxml/wbxml_conv.h>

#include "xml.h"

enum wbxml_token {
	TOKEN_SWITCH_PAGE = 0x00,
	TOKEN_END = 0x01,
	TOKEN_STR_I = 0x03,
	TOKEN_OPAQUE = 0xc3,
};

/* Moves *at behind opaque data: a length of at most four 7-bit groups, then the bytes. */
static int skip_opaque(const unsigned char *b, size_t n, size_t *at)
{
	size_t length = 0;

	for (int i = 0; i < 4 && *at < n; i++) {
		unsigned char c = b[(*at)++];

		length = length << 7 | (c & 0x7fu);
		if ((c & 0x80) != 0)
			continue;
		if (length > n - *at)
			return -1;
		*at += length;
		return 0;
	}
	return -1;
}

static int skip_string(const unsigned char *b, size_t n, size_t *at)
{
	const unsigned char *end = memchr(b + *at, 0, n - *at);

	if (end == NULL)
		return -1;
	*at = (size_t)(end - b) + 1;
	return 0;
}

/* One tag: an element without attributes. *depth grows if it has content. */
static int take_tag(unsigned char c, unsigned *depth, unsigned *elements)
{
	if ((c & 0x80) != 0 || (c & 0x3f) < 5 || ++*elements > WBXML_ELEMENTS_MAX)
		return -1;
	if ((c & 0x40) != 0 && ++*depth > WBXML_DEPTH_MAX)
		return -1;
	return 0;
}

static bool form_is_good(const unsigned char *b, size_t n)
{
	static const unsigned char head[] = { 0x03, 0x01, 0x6a, 0x00 };
	unsigned depth = 0, elements = 0;
	size_t at = sizeof(head);

	if (n <= sizeof(head) || memcmp(b, head, sizeof(head)) != 0)
		return false;
	while (at < n) {
		unsigned char c = b[at++];
		int rc = 0;

		if (c == TOKEN_SWITCH_PAGE) {
			rc = at++ < n ? 0 : -1;
		} else if (elements > 0 && depth == 0) {
			return false;           /* something behind the root */
		} else if (c == TOKEN_END) {
			rc = depth-- > 0 ? 0 : -1;
		} else if (c == TOKEN_STR_I) {
			rc = depth > 0 ? skip_string(b, n, &at) : -1;
		} else if (c == TOKEN_OPAQUE) {
			rc = depth > 0 ? skip_opaque(b, n, &at) : -1;
		} else {
			rc = take_tag(c, &depth, &elements);
		}
		if (rc < 0)
			return false;
	}
	return elements > 0 && depth == 0;
}

xmlDoc *wbxml_decode(const unsigned char *body, size_t n)
{
	WBXMLConvWBXML2XML *conv = NULL;
	WB_UTINY *xml = NULL, *copy;
	WB_ULONG xml_n = 0;
	xmlDoc *doc = NULL;

	if (n > INT_MAX || !form_is_good(body, n))
		return NULL;
	copy = malloc(n);               /* the library's interface is not const */
	if (copy == NULL)
		return NULL;
	memcpy(copy, body, n);
	if (wbxml_conv_wbxml2xml_create(&conv) != WBXML_OK)
		goto out;
	wbxml_conv_wbxml2xml_set_gen_type(conv, WBXML_GEN_XML_COMPACT);
	wbxml_conv_wbxml2xml_set_language(conv, WBXML_LANG_ACTIVESYNC);
	wbxml_conv_wbxml2xml_set_charset(conv, WBXML_CHARSET_UTF_8);
	wbxml_conv_wbxml2xml_enable_preserve_whitespaces(conv);
	if (wbxml_conv_wbxml2xml_run(conv, copy, (WB_ULONG)n, &xml, &xml_n) != WBXML_OK)
		goto out;
	doc = xml_parse((const char *)xml, xml_n);
out:
	free(xml);
	if (conv != NULL)
		wbxml_conv_wbxml2xml_destroy(conv);
	free(copy);
	return doc;
}

int wbxml_encode(const char *xml, size_t n, unsigned char **out, size_t *out_n)
{
	WBXMLConvXML2WBXML *conv = NULL;
	WB_UTINY *wbxml = NULL, *copy;
	WB_ULONG wbxml_n = 0;
	int rc = -1;

	copy = malloc(n + 1);
	if (copy == NULL)
		return -1;
	memcpy(copy, xml, n);
	copy[n] = '\0';
	if (wbxml_conv_xml2wbxml_create(&conv) != WBXML_OK)
		goto out;
	wbxml_conv_xml2wbxml_set_version(conv, WBXML_VERSION_13);
	wbxml_conv_xml2wbxml_enable_preserve_whitespaces(conv);
	wbxml_conv_xml2wbxml_disable_string_table(conv);
	wbxml_conv_xml2wbxml_disable_public_id(conv);
	if (wbxml_conv_xml2wbxml_run(conv, copy, (WB_ULONG)n, &wbxml, &wbxml_n) != WBXML_OK)
		goto out;
	*out = wbxml;
	*out_n = wbxml_n;
	wbxml = NULL;
	rc = 0;
out:
	free(wbxml);
	if (conv != NULL)
		wbxml_conv_xml2wbxml_destroy(conv);
	free(copy);
	return rc;
}
