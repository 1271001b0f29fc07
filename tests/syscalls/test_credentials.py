"""kernel.credentials against setuid(2), setreuid(2), setresuid(2), setfsuid(2), capabilities(7)."""

from errno import EINVAL, EPERM

import pytest

from apppot.kernel.credentials import ALL_CAPS, CAP_SETUID, FS_CAPS, KEEP, Credentials

USER, OTHER, THIRD = 1000, 1, 2


def user():
    return Credentials(USER, USER, (USER,))


def root():
    return user().become(0, 0, (0,))


def with_uids(ruid, euid, suid):
    creds = root()
    creds.setresuid(ruid, euid, suid)
    return creds


def uids(creds):
    return creds.ruid, creds.euid, creds.suid, creds.fsuid


def gids(creds):
    return creds.rgid, creds.egid, creds.sgid, creds.fsgid


def fails(error, function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == error


def test_the_host_user_is_not_virtual_and_root_is():
    assert not user().virtual
    assert root().virtual
    assert Credentials(0, 0).virtual, "the host's root gets no say on the host"


def test_root_that_becomes_the_host_user_again_is_not_virtual():
    creds = root()
    creds.setgroups((USER,))
    creds.setgid(USER)
    assert creds.virtual
    creds.setuid(USER)
    assert not creds.virtual


@pytest.mark.parametrize("before, uid, after", [
    ((0, 0, 0), OTHER, (OTHER, OTHER, OTHER)),
    ((USER, OTHER, THIRD), USER, (USER, USER, THIRD)),
    ((USER, OTHER, THIRD), THIRD, (USER, THIRD, THIRD)),
    ((USER, OTHER, THIRD), OTHER, None),  # the effective one is not enough
    ((USER, USER, USER), 0, None),
])
def test_setuid(before, uid, after):
    creds = with_uids(*before)
    if after is None:
        fails(EPERM, creds.setuid, uid)
        assert uids(creds)[:3] == before
    else:
        creds.setuid(uid)
        assert uids(creds) == (*after, after[1])


@pytest.mark.parametrize("before, ids, after", [
    ((0, 0, 0), (OTHER, THIRD), (OTHER, THIRD, THIRD)),
    ((0, 0, 0), (KEEP, THIRD), (0, THIRD, THIRD)),
    ((0, 0, 0), (KEEP, KEEP), (0, 0, 0)),
    ((USER, OTHER, OTHER), (OTHER, USER), (OTHER, USER, USER)),  # the swap
    ((USER, OTHER, THIRD), (KEEP, USER), (USER, USER, THIRD)),  # to the real one: saved stays
    ((USER, OTHER, THIRD), (KEEP, THIRD), (USER, THIRD, THIRD)),
    ((USER, OTHER, THIRD), (THIRD, KEEP), None),  # the saved one may not become the real one
    ((USER, USER, USER), (KEEP, 0), None),
])
def test_setreuid(before, ids, after):
    creds = with_uids(*before)
    if after is None:
        fails(EPERM, creds.setreuid, *ids)
    else:
        creds.setreuid(*ids)
        assert uids(creds) == (*after, after[1])


@pytest.mark.parametrize("before, ids, after", [
    ((0, 0, 0), (1, 2, 3), (1, 2, 3)),
    ((1, 2, 3), (3, 1, 2), (3, 1, 2)),
    ((1, 2, 3), (KEEP, 3, KEEP), (1, 3, 3)),
    ((1, 2, 3), (KEEP, 4, KEEP), None),
    ((1, 2, 3), (4, KEEP, KEEP), None),
    ((1, 2, 3), (KEEP, KEEP, 4), None),
])
def test_setresuid(before, ids, after):
    creds = with_uids(*before)
    if after is None:
        fails(EPERM, creds.setresuid, *ids)
    else:
        creds.setresuid(*ids)
        assert uids(creds) == (*after, after[1])


def test_setfsuid_tells_the_former_one_and_never_fails():
    creds = with_uids(USER, OTHER, THIRD)
    assert creds.setfsuid(USER) == OTHER
    assert creds.setfsuid(5) == USER
    assert creds.setfsuid(KEEP) == USER
    assert creds.fsuid == USER


def test_the_group_calls_follow_the_same_rules():
    creds = root()
    creds.setresgid(1, 2, 3)
    assert gids(creds) == (1, 2, 3, 2)
    creds.setuid(USER)
    creds.setgid(3)
    assert gids(creds) == (1, 3, 3, 3)
    fails(EPERM, creds.setgid, 0)
    fails(EPERM, creds.setregid, 2, KEEP)
    creds.setregid(3, 1)
    assert gids(creds) == (3, 1, 1, 1)
    assert creds.setfsgid(3) == 1
    assert creds.fsgid == 3
    fails(EPERM, creds.setgroups, (0,))


def test_minus_one_is_no_user():
    for creds in (user(), root()):
        fails(EINVAL, creds.setuid, KEEP)
        fails(EINVAL, creds.setgid, KEEP)


def test_supplementary_groups_are_sorted_and_limited():
    creds = root()
    creds.setgroups((5, 3, 4))
    assert creds.groups == (3, 4, 5)
    fails(EINVAL, creds.setgroups, range(65537))
    fails(EPERM, user().setgroups, ())


# capabilities(7), "Effect of user ID changes on capabilities"


def test_all_ids_leave_zero():
    creds = root()
    creds.setresuid(1, 1, 1)
    assert (creds.permitted, creds.effective) == (0, 0)


def test_the_effective_id_leaves_zero_and_comes_back():
    creds = root()
    creds.setresuid(KEEP, 1, KEEP)
    assert (creds.permitted, creds.effective) == (ALL_CAPS, 0)
    creds.setresuid(KEEP, 0, KEEP)
    assert creds.effective == ALL_CAPS


def test_keepcaps_keeps_the_permitted_set():
    creds = root()
    creds.set_keepcaps(1)
    creds.setresuid(1, 1, 1)
    assert (creds.permitted, creds.effective) == (ALL_CAPS, 0)
    assert creds.virtual
    assert not creds.after_exec().keepcaps


def test_no_setuid_fixup():
    creds = root()
    creds.set_securebits(0x04)
    creds.setresuid(1, 1, 1)
    assert creds.effective == ALL_CAPS


def test_the_file_system_id_carries_its_capabilities():
    creds = root()
    creds.setfsuid(1)
    assert creds.effective == ALL_CAPS & ~FS_CAPS
    creds.setfsuid(0)
    assert creds.effective == ALL_CAPS


def test_capset():
    creds = root()
    creds.capset(1 << CAP_SETUID, 1 << CAP_SETUID, 0)
    assert creds.has(CAP_SETUID)
    fails(EPERM, creds.capset, 0, ALL_CAPS, 0)  # a dropped one is gone
    fails(EPERM, creds.capset, 1, 1 << CAP_SETUID, 0)  # effective beyond permitted
    fails(EPERM, creds.capset, 0, 1 << CAP_SETUID, 1)  # inheritable needs CAP_SETPCAP
    creds.capset(0, 1 << CAP_SETUID, 1 << CAP_SETUID)
    fails(EPERM, creds.setuid, 1), "dropped from effective"


def test_root_without_capabilities_has_no_say():
    creds = root()
    creds.capset(0, 0, 0)
    fails(EPERM, creds.setuid, 1)
    fails(EPERM, creds.setgroups, ())
    assert creds.virtual


def test_bounding_set():
    creds = root()
    creds.drop_bounding(CAP_SETUID)
    assert not creds.in_bounding(CAP_SETUID)
    assert creds.in_bounding(0)
    assert creds.after_exec().permitted == ALL_CAPS & ~(1 << CAP_SETUID)
    fails(EINVAL, creds.in_bounding, 64)
    fails(EPERM, user().drop_bounding, 0)


def test_ambient_set():
    creds = root()
    fails(EPERM, creds.raise_ambient, 3)  # not inheritable
    creds.capset(ALL_CAPS, ALL_CAPS, 1 << 3)
    creds.raise_ambient(3)
    assert creds.in_ambient(3)
    creds.set_keepcaps(1)
    creds.setresuid(KEEP, 1, KEEP)
    assert creds.in_ambient(3)
    creds.setresuid(1, 1, 1)
    assert not creds.in_ambient(3), "lost with the last zero"


def test_ambient_capabilities_survive_an_exec():
    creds = root()
    creds.set_securebits(0x04)  # no set-uid fix-up
    creds.setresuid(1, 1, 1)
    creds.capset(ALL_CAPS, ALL_CAPS, 1 << 3)
    creds.raise_ambient(3)
    after = creds.after_exec()
    assert (after.permitted, after.effective, after.ambient) == (1 << 3,) * 3
    assert creds.after_exec(set_uid=5).ambient == 0


def test_securebits_have_locks():
    creds = root()
    creds.set_securebits(0x30)  # KEEP_CAPS and its lock
    fails(EPERM, creds.set_securebits, 0)
    fails(EPERM, creds.set_keepcaps, 0)
    fails(EPERM, creds.set_securebits, 0x130)
    fails(EPERM, user().set_securebits, 1)


# exec


def test_a_set_user_id_program():
    after = user().after_exec(set_uid=0)
    assert uids(after) == (USER, 0, 0, 0)
    assert after.effective == after.permitted == ALL_CAPS
    assert after.virtual
    after.setuid(USER)
    assert uids(after) == (USER,) * 4
    assert not after.virtual


def test_a_set_group_id_program():
    after = user().after_exec(set_gid=5)
    assert gids(after) == (USER, 5, 5, 5)
    assert after.effective == 0
    assert after.virtual


def test_the_saved_id_becomes_the_effective_one():
    after = with_uids(1, 2, 3).after_exec()
    assert uids(after) == (1, 2, 2, 2)


def test_a_real_root_gets_permitted_but_not_effective():
    after = with_uids(0, 1, 1).after_exec()
    assert (after.permitted, after.effective) == (ALL_CAPS, 0)


def test_noroot():
    creds = root()
    creds.set_securebits(0x01)
    assert creds.after_exec().permitted == 0


def test_no_new_privs():
    creds = user()
    creds.no_new_privs = True
    after = creds.after_exec(set_uid=0)
    assert uids(after) == (USER,) * 4
    assert after.no_new_privs


def test_an_ordinary_exec_changes_nothing():
    after = user().after_exec()
    assert not after.virtual
    assert uids(after) == (USER,) * 4
    copy = after.copy()
    copy.setfsuid(USER)
    assert copy is not after and uids(copy) == uids(after)
