"""Access control lists in the text that tar archives carry."""

import os
import shutil
import subprocess
import tarfile

import pytest

from apppot.image import acl, tarstream
from apppot.image.acl import GROUP, GROUP_OBJ, MASK, OTHER, USER, USER_OBJ
from tests.image.tars import member

WITH_ALICE = [(USER_OBJ, 6), (USER, 4, 502), (GROUP_OBJ, 4), (MASK, 4), (OTHER, 0)]


def listed(text, **numbers):
    value = acl.from_text(text, lambda tag, name: numbers.get(name))
    return [entry if entry[0] in (USER, GROUP) else entry[:2] for entry in acl.parse(value)]


@pytest.mark.parametrize("text", [
    "user::rw-\nuser:alice:r--\ngroup::r--\nmask::r--\nother::---\n",
    "u::rw-,u:alice:r--,g::r--,m::r--,o::---",
    "user::rw-,user:nobody-here:r--:502,group::r--,mask:r--,other:---",
    "other::---\n# a comment\n mask::r--\n\nuser:502:r--\t#effective:r--\ngroup::r--\nuser::rw-\n",
    "default:user::rw-,default:user:502:r--,default:group::r--,default:mask::r--,default:other::---"])
def test_the_forms_of_the_text(text):
    assert listed(text, alice=502) == WITH_ALICE


def test_who_is_unknown_is_left_out():
    assert listed("user::rwx,user:alice:---,user:bob:rwx,group::r-x,group:crew:r-x,mask::rwx,other::r-x", bob=7, crew=8) == [
        (USER_OBJ, 7), (USER, 7, 7), (GROUP_OBJ, 5), (GROUP, 5, 8), (MASK, 7), (OTHER, 5)]
    assert listed("user::rwx,user:99999999999999999999:rwx,group::r-x,mask::rwx,other::r-x")[1] == (GROUP_OBJ, 5)


@pytest.mark.parametrize("text", [
    "user::rw-", "user::rw-,group::r--,other::r--,other::r--", "user::rw-,user:1:r--,group::r--,other::r--",
    "user::rwz,group::r--,other::r--", "user::rw,group::r--,other::r--", "owner@:rw-p:allow,group@:r--:allow", ":::",
    "mask:x:r--,user::rw-,group::r--,other::r--", "user::rw-:1:2:3,group::r--,other::r--"])
def test_what_is_no_list(text):
    with pytest.raises(OSError):
        acl.from_text(text, lambda tag, name: 1)


def test_a_member_tells_them_as_attributes():
    text = "user::rw-,user:its-owner:r--,group::r--,group:root:rw-,mask::rw-,other::---"
    info, _ = member("a", uid=1234, pax={"SCHILY.acl.access": text, "SCHILY.acl.default": "nonsense"})
    info.uname = "its-owner"
    found = tarstream.xattrs(info)
    assert list(found) == [acl.ACCESS]
    assert acl.parse(found[acl.ACCESS])[1] == (USER, 4, 1234) and (GROUP, 6, 0) in acl.parse(found[acl.ACCESS])


def test_what_tar_writes(tmp_path):
    if not (shutil.which("setfacl") and shutil.which("tar")):
        pytest.skip("setfacl is missing; please run: apt-get install acl")
    file = tmp_path / "file"
    file.touch()
    if subprocess.run(["setfacl", "-m", "u:1234:rw,g:root:r,m::rw", file], capture_output=True).returncode:
        pytest.skip("the file system of the tests has no access control lists")
    subprocess.run(["tar", "--acls", "-cf", tmp_path / "a.tar", "-C", tmp_path, "file"], check=True)
    with tarfile.open(tmp_path / "a.tar") as archive:
        found = tarstream.xattrs(archive.getmember("file"))
    assert found == {acl.ACCESS: os.getxattr(file, acl.ACCESS)}
