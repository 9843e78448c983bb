/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of an image, for people: laid out as qemu-img's info. It is given as the schema's ImageInfo in JSON. */
#ifndef UTIL_IMAGE_TEXT_H
#define UTIL_IMAGE_TEXT_H

#include <glib.h>
#include <json-c/json.h>

/* One image, not those below it. */
void image_text(GString *out, json_object *image);
/* An array of SnapshotInfo, with a line of titles. */
void snapshots_text(GString *out, json_object *snapshots);

#endif
