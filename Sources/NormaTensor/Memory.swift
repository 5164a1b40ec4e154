import CTorch

/// Memory of tensors on the CPU, counted from ``install(_:)`` on.
public enum TensorMemory {
  /// Where the memory of CPU tensors comes from.
  public enum Allocator: Sendable {
    /// libtorch's own: every large block is mapped anew, which costs page faults in every training step.
    case system
    /// Large blocks are kept when they are freed, and reused. Together with the blocks in use they never take more than
    /// 1.25 times what tensors have held at one time since the last ``returnUnused()``, nor more than three quarters of
    /// the machine's memory. Blocks that were not reused for half a minute are given back.
    case keepingFreedBlocks
  }

  /// Counts, and takes memory from the given allocator. Call it before the first tensor is made, since tensors from
  /// before are not counted; a later call may choose the other allocator.
  public static func install(_ allocator: Allocator) { ct_memory_install(allocator == .keepingFreedBlocks) }

  /// Bytes of the blocks that tensors hold; rounded sizes, so up to a quarter more than was asked for.
  public static var liveBytes: Int { Int(ct_memory_live()) }
  /// The largest value of ``liveBytes`` since the start or the last ``resetPeak()``.
  public static var peakBytes: Int { Int(ct_memory_peak()) }
  public static func resetPeak() { ct_memory_reset_peak() }

  /// Bytes of freed blocks that are kept for reuse; not in ``liveBytes``.
  public static var keptBytes: Int { Int(ct_memory_kept()) }
  /// - Parameters:
  ///   - keptBytes: the most that is kept; nil for no further bound than that of ``Allocator/keepingFreedBlocks``.
  ///   - idle: how long a block is kept without being reused.
  public static func setLimits(keptBytes: Int? = nil, idle: Duration = .seconds(30)) {
    ct_memory_set_limits(keptBytes.map { Int64(max(0, $0)) } ?? -1, idle / .seconds(1))
  }
  /// Gives kept blocks, and memory of freed tensors that the process still holds, back to the system.
  public static func returnUnused() { ct_memory_trim() }
}

/// Resident memory of this process as the system accounts for it: tensors, kept blocks and all else.
public enum ProcessMemory {
  /// Nil where the system does not tell.
  public static var residentBytes: Int? { known(ct_process_resident()) }
  /// The most since the start or the last ``resetPeak()`` that succeeded; nil where the system does not tell.
  public static var peakResidentBytes: Int? { known(ct_process_peak()) }
  /// Starts a new peak at what is resident now, which only Linux offers.
  /// - Returns: whether the system allowed it; otherwise the old peak stands.
  public static func resetPeak() -> Bool { ct_process_reset_peak() }

  private static func known(_ bytes: Int64) -> Int? { bytes < 0 ? nil : Int(bytes) }
}
