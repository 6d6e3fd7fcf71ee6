/*
 * xml: reading and writing the XML form of ActiveSync bodies, on libxml2.
 * Names are matched without their namespace; the shape of a body is the caller's business.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_XML_H
#define MAIL_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libxml/tree.h>
#include <libxml/xmlwriter.h>

/*
 * Parses `n` bytes. No external entity, no DTD, no network. NULL: not well-formed, or no memory.
 * The caller frees it with xmlFreeDoc().
 */
xmlDoc *xml_parse(const char *text, size_t n);

/* First child element called `name`, or NULL. `parent` may be NULL. Borrows from the document. */
const xmlNode *xml_child(const xmlNode *parent, const char *name);

/* Next sibling element called `name`; NULL for `name` means any. */
const xmlNode *xml_next(const xmlNode *node, const char *name);

/* First child element of any name, or NULL. */
const xmlNode *xml_first(const xmlNode *parent);

bool xml_is(const xmlNode *node, const char *name);

/* Copies the text of child `name`. False: no such child, or longer than `room` - 1 bytes. */
bool xml_text(const xmlNode *parent, const char *name, char *out, size_t room);

/* The same for a decimal number of at most `max`. */
bool xml_number(const xmlNode *parent, const char *name, uint32_t max, uint32_t *out);

/* A document being written. A failure is remembered, and told by xml_out_end(). */
struct xml_out {
	xmlBuffer *buffer;      /* NULL: nothing has been written */
	xmlTextWriter *writer;
	bool failed;
};

/* Starts the document with its root element in namespace `space`. */
void xml_out_begin(struct xml_out *o, const char *root, const char *space);

/* Ends it. Returns the text, borrowed until xml_out_clear(); NULL if anything failed. */
const char *xml_out_end(struct xml_out *o, size_t *n);

/* Gives everything back; *o may be used again. */
void xml_out_clear(struct xml_out *o);

/* `space` NULL: the parent's namespace. xml_close() ends what was opened last. */
void xml_open(struct xml_out *o, const char *name, const char *space);
void xml_close(struct xml_out *o);
void xml_empty(struct xml_out *o, const char *name, const char *space);

/* `text` must be what text_clean() makes, or ours. */
void xml_leaf(struct xml_out *o, const char *name, const char *space, const char *text);
void xml_leaf_number(struct xml_out *o, const char *name, const char *space, uint32_t value);

#endif
