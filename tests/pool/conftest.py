from supervision.fake_process import processes

__all__ = ["processes"]
