/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-img check. Exit status: 0 nothing (left) to complain of, 1 the check failed, 2 the image is
 * damaged, 3 clusters are leaked, 63 the format cannot be checked.
 */
#include "img/img.h"

enum { CHECK_OK = 0, CHECK_FAILED = 1, CHECK_CORRUPT = 2, CHECK_LEAKS = 3, CHECK_UNSUPPORTED = 63 };

typedef struct Check {
    const char *format, *output, *repair, *cache;
    bool image_opts, quiet, force_share, json;
    unsigned fix;
} Check;

static void add_count(json_object *o, const char *key, uint64_t value)
{
    if (value) {
        json_object_object_add(o, key, json_object_new_int64((int64_t)value));
    }
}

static void print_json(const char *filename, const char *format, const BlockCheck *r)
{
    json_object *o = json_object_new_object();

    add_count(o, "image-end-offset", r->image_end_offset);
    add_count(o, "compressed-clusters", r->compressed_clusters);
    add_count(o, "total-clusters", r->total_clusters);
    add_count(o, "corruptions", r->corruptions);
    add_count(o, "corruptions-fixed", r->corruptions_fixed);
    json_object_object_add(o, "check-errors", json_object_new_int64((int64_t)r->check_errors));
    add_count(o, "leaks", r->leaks);
    add_count(o, "leaks-fixed", r->leaks_fixed);
    add_count(o, "allocated-clusters", r->allocated_clusters);
    json_object_object_add(o, "filename", json_object_new_string(filename));
    json_object_object_add(o, "format", json_object_new_string(format));
    add_count(o, "fragmented-clusters", r->fragmented_clusters);
    img_print_json(o);
}

static void print_errors(const BlockCheck *r)
{
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    }
    if (r->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    }
    if (r->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", r->leaks);
    }
    if (r->check_errors) {
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", r->check_errors);
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return 100.0 * (double)part / (double)whole;
}

static void print_human(const BlockCheck *r)
{
    print_errors(r);
    if (r->total_clusters && r->allocated_clusters) {
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed "
               "clusters\n", r->allocated_clusters, r->total_clusters,
               percent(r->allocated_clusters, r->total_clusters),
               percent(r->fragmented_clusters, r->allocated_clusters),
               percent(r->compressed_clusters, r->allocated_clusters));
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
    }
}

/* What was repaired is checked once more: the second result counts. */
static bool check_again(BlockNode *node, const Check *c, BlockCheck *r, GError **err)
{
    uint64_t leaks = r->leaks_fixed, corruptions = r->corruptions_fixed;

    if (!leaks && !corruptions) {
        return true;
    }
    if (!c->json && !c->quiet) {
        printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
               " leaked clusters\n    %" PRIu64 " corruptions\n\n"
               "Double checking the fixed image now...\n", leaks, corruptions);
        fflush(stdout);
    }
    if (!node->drv->check(node, 0, r, err)) {
        return false;
    }
    r->leaks_fixed = leaks;
    r->corruptions_fixed = corruptions;
    return true;
}

static int check_image(ImgImage *image, const Check *c)
{
    BlockNode *node = image->node;
    g_autoptr(GError) err = NULL;
    BlockCheck r = {0};

    if (!node->drv->check || (c->fix && node->drv->check_only)) {
        report_error("This image format does not support checks");
        return CHECK_UNSUPPORTED;
    }
    if (!node->drv->check(node, c->fix, &r, &err) || !check_again(node, c, &r, &err)) {
        report_error("%s", err->message);
        return CHECK_FAILED;
    }
    if (c->json && !c->quiet) {
        print_json(image->name, node->drv->name, &r);
    } else if (!c->quiet) {
        print_human(&r);
    }
    return r.corruptions || r.check_errors ? (r.check_errors ? CHECK_FAILED : CHECK_CORRUPT)
           : r.leaks                       ? CHECK_LEAKS
                                           : CHECK_OK;
}

static bool read_repair(Check *c)
{
    if (!c->repair) {
        return true;
    }
    if (!strcmp(c->repair, "leaks")) {
        c->fix = BLOCK_FIX_LEAKS;
    } else if (!strcmp(c->repair, "all")) {
        c->fix = BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS;
    } else {
        img_usage_error("Unknown option value for -r (expecting 'leaks' or 'all'): %s", c->repair);
        return false;
    }
    return true;
}

static int check_main(Vm *vm, int argc, char **argv)
{
    Check c = {0};
    const ImgOption options[] = {
        {'f', "format", IMG_TEXT, &c.format},
        {'r', "repair", IMG_TEXT, &c.repair},
        {0, "output", IMG_TEXT, &c.output},
        {'T', NULL, IMG_TEXT, &c.cache},
        {'q', NULL, IMG_FLAG, &c.quiet},
        {'U', "force-share", IMG_FLAG, &c.force_share},
        {0, "image-opts", IMG_FLAG, &c.image_opts},
        {0},
    };
    g_autoptr(GError) err = NULL;
    ImgImage image;
    ImgOpen how;
    int at, status;

    if (!img_parse(vm, argc, argv, options, &at) || !read_repair(&c)) {
        return CHECK_FAILED;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (!img_output_is_json(c.output, &c.json)) {
        return CHECK_FAILED;
    }
    how = (ImgOpen){.format = c.format, .cache = c.cache, .image_opts = c.image_opts,
                    .writable = c.fix != 0, .force_share = c.force_share, .quiet = c.quiet,
                    .check = true, .no_perm = true};
    if (!img_open(vm, argv[at], &how, &image, &err)) {
        report_error("%s", err->message);
        return CHECK_FAILED;
    }
    status = check_image(&image, &c);
    img_close(&image);
    return status;
}

const ImgCommand img_check = {
    .name = "check",
    .usage = "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] "
             "[-T src_cache] [-U] filename",
    .run = check_main,
};
