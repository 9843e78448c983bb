/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A shared object that has nothing to do with Kiln. */
extern const int stranger;
const int stranger = 1;
