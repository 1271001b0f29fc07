"""The options of the commands that write an image."""

from apppot.cli import values
from apppot.cli.options import Option

FORMATS = ("directory", "tar", "tar.gz", "tar.xz", "tar.zst", "oci", "squashfs", "ext4")
OUTPUT = Option("--output", "-o", metavar="FILE", convert=values.path, help="What to write; it appears when it is whole.")
FORMAT = Option("--format", metavar="FORMAT", convert=values.one_of(*FORMATS),
                help=f"{', '.join(FORMATS)}. oci is an OCI image archive. Default: what the name ends in (.tar, .tar.gz, "
                     ".oci.tar, .squashfs, .img...).")
COW = Option("--cow", metavar="DIR", convert=values.path, help="Put the changes in the COW directory DIR over the image.")
SIZE = Option("--size", metavar="NUM[M|G]", convert=values.size,
              help="Size of an ext4 image. Default: what the files need, a tenth of it and 64 MiB.")
BOOTABLE = Option("--bootable", help="Give an ext4 image an init where it has none, so that User-Mode Linux or a "
                                     "virtual machine boots it: it runs apppot-autorun as user and powers off.")
FOOTER = """\
ext4 needs mke2fs (package e2fsprogs), squashfs mksquashfs (squashfs-tools).
Both run in a machine, so that owners, devices and set-user-id bits are right.
With SOURCE_DATE_EPOCH set, the same files give the same bytes."""
