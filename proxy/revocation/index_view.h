/*
 * index_view: what a reader's mapping is made of. Private to index*.c.
 */
#ifndef EASGATE_REVOCATION_INDEX_VIEW_H
#define EASGATE_REVOCATION_INDEX_VIEW_H

#include "proxy/revocation/index_format.h"

struct revocation_view {
	struct index_map map;
};

#endif
