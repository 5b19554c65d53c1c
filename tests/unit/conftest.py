"""What all unit tests share."""

import hypothesis

hypothesis.settings.register_profile("hpcsweep", deadline=None)  # a busy machine is slow, and that is not a fault
hypothesis.settings.load_profile("hpcsweep")
