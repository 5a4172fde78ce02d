"""Read by engines that tests start on the mock cluster, by its folder on PYTHONPATH.

The mock answers a member of a consumer group with an error whose SyncGroup comes after the
leader's. A real broker does not. So the leader takes its time here.
"""

import time

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

_original_assign = RoundRobinPartitionAssignor.assign.__func__


def _assign_slowly(cls, cluster, members):
    time.sleep(0.3 if len(members) > 1 else 0)
    return _original_assign(cls, cluster, members)


RoundRobinPartitionAssignor.assign = classmethod(_assign_slowly)
