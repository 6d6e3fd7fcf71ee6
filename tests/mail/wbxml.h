/*
 * wbxml: ActiveSync bodies between WBXML on the wire and XML inside, by libwbxml2.
 * Looks at the form of what came before the library sees it; knows no command.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_WBXML_H
#define MAIL_WBXML_H

#include <stddef.h>

#include <libxml/tree.h>

#define WBXML_DEPTH_MAX 24
#define WBXML_ELEMENTS_MAX 20000

/*
 * Decodes one body. Only what ActiveSync uses is taken ([MS-ASWBXML] 2.1): header 03 01 6a 00,
 * one root element, inline strings, opaque data, code pages; no attributes, no string table.
 * Opaque data arrives in the XML as base64.
 * Returns the document, which the caller frees with xmlFreeDoc(), or NULL if it is refused.
 */
xmlDoc *wbxml_decode(const unsigned char *body, size_t n);

/*
 * Encodes one document, anonymous and without a string table.
 * Returns 0 and *out, which the caller frees with free(), or -1 (a name that ActiveSync does
 * not have, or no memory).
 */
int wbxml_encode(const char *xml, size_t n, unsigned char **out, size_t *out_n);

#endif
