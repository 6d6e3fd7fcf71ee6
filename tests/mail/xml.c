/*
 * xml: thin helpers over libxml2's tree and text writer.
 * Adds no meaning of its own.
 * Part of the sample mail server, which runs as one process.
 */
#include "xml.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <libxml/parser.h>

#include "text.h"

xmlDoc *xml_parse(const char *text, size_t n)
{
	if (n > INT_MAX)
		return NULL;
	return xmlReadMemory(text, (int)n, NULL, NULL, XML_PARSE_NONET | XML_PARSE_HUGE |
	    XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
}

bool xml_is(const xmlNode *node, const char *name)
{
	return node != NULL && node->type == XML_ELEMENT_NODE &&
	    strcmp((const char *)node->name, name) == 0;
}

static const xmlNode *find(const xmlNode *node, const char *name)
{
	for (; node != NULL; node = node->next)
		if (name == NULL ? node->type == XML_ELEMENT_NODE : xml_is(node, name))
			return node;
	return NULL;
}

const xmlNode *xml_child(const xmlNode *parent, const char *name)
{
	return parent == NULL ? NULL : find(parent->children, name);
}

const xmlNode *xml_first(const xmlNode *parent)
{
	return xml_child(parent, NULL);
}

const xmlNode *xml_next(const xmlNode *node, const char *name)
{
	return node == NULL ? NULL : find(node->next, name);
}

bool xml_text(const xmlNode *parent, const char *name, char *out, size_t room)
{
	const xmlNode *node = xml_child(parent, name);
	xmlChar *content;
	size_t n;

	if (node == NULL)
		return false;
	content = xmlNodeGetContent(node);
	if (content == NULL)
		return false;
	n = strlen((const char *)content);
	if (n < room)
		memcpy(out, content, n + 1);
	xmlFree(content);
	return n < room;
}

bool xml_number(const xmlNode *parent, const char *name, uint32_t max, uint32_t *out)
{
	char text[16];

	return xml_text(parent, name, text, sizeof(text)) && text_number(text, max, out);
}

static void note(struct xml_out *o, int rc)
{
	if (rc < 0)
		o->failed = true;
}

void xml_out_begin(struct xml_out *o, const char *root, const char *space)
{
	xml_out_clear(o);
	o->buffer = xmlBufferCreate();
	o->writer = o->buffer == NULL ? NULL : xmlNewTextWriterMemory(o->buffer, 0);
	if (o->writer == NULL) {
		o->failed = true;
		return;
	}
	note(o, xmlTextWriterStartDocument(o->writer, "1.0", "UTF-8", NULL));
	note(o, xmlTextWriterWriteDTD(o->writer, (const xmlChar *)"ActiveSync",
	    (const xmlChar *)"-//MICROSOFT//DTD ActiveSync//EN",
	    (const xmlChar *)"http://www.microsoft.com/", NULL));
	xml_open(o, root, space);
}

const char *xml_out_end(struct xml_out *o, size_t *n)
{
	if (o->writer == NULL || o->failed)
		return NULL;
	note(o, xmlTextWriterEndDocument(o->writer));
	note(o, xmlTextWriterFlush(o->writer));
	if (o->failed)
		return NULL;
	*n = (size_t)xmlBufferLength(o->buffer);
	return (const char *)xmlBufferContent(o->buffer);
}

void xml_out_clear(struct xml_out *o)
{
	if (o->writer != NULL)
		xmlFreeTextWriter(o->writer);
	if (o->buffer != NULL)
		xmlBufferFree(o->buffer);
	memset(o, 0, sizeof(*o));
}

void xml_open(struct xml_out *o, const char *name, const char *space)
{
	if (o->failed)
		return;
	note(o, xmlTextWriterStartElement(o->writer, (const xmlChar *)name));
	if (space != NULL)
		note(o, xmlTextWriterWriteAttribute(o->writer, (const xmlChar *)"xmlns",
		    (const xmlChar *)space));
}

void xml_close(struct xml_out *o)
{
	if (!o->failed)
		note(o, xmlTextWriterEndElement(o->writer));
}

void xml_empty(struct xml_out *o, const char *name, const char *space)
{
	xml_open(o, name, space);
	xml_close(o);
}

void xml_leaf(struct xml_out *o, const char *name, const char *space, const char *text)
{
	xml_open(o, name, space);
	if (!o->failed && *text != '\0')
		note(o, xmlTextWriterWriteString(o->writer, (const xmlChar *)text));
	xml_close(o);
}

void xml_leaf_number(struct xml_out *o, const char *name, const char *space, uint32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	xml_leaf(o, name, space, text);
}
