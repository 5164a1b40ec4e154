import NormaTensor
import Testing

/// Other tests run beside these in the same process, so tensors are larger than all theirs together and numbers
/// are compared with room to spare. The memory is never touched, so it costs nothing.
@Suite(.serialized) struct TensorMemoryTests {
  static let gibibyte = 1 << 30
  static let slack = gibibyte / 2

  init() { TensorMemory.install(.keepingFreedBlocks) }

  @Test func liveBytesFollowTensors() throws {
    let before = TensorMemory.liveBytes
    do {
      let tensor = try Tensor.empty([4 * Self.gibibyte], dtype: .uint8)
      #expect(TensorMemory.liveBytes > before + 4 * Self.gibibyte - Self.slack)
      let view = try tensor.sliced(0..<(2 * Self.gibibyte))
      let same = tensor
      #expect(
        TensorMemory.liveBytes < before + 4 * Self.gibibyte + Self.slack, "views and copies share storage")
      withExtendedLifetime((tensor, view, same)) {}
    }
    #expect(TensorMemory.liveBytes < before + Self.slack)
  }

  @Test func peakIsKeptAndReset() throws {
    TensorMemory.resetPeak()
    let before = TensorMemory.liveBytes
    for _ in 0..<2 { _ = try Tensor.empty([2 * Self.gibibyte], dtype: .uint8) }
    #expect(TensorMemory.peakBytes > before + 2 * Self.gibibyte - Self.slack)
    #expect(
      TensorMemory.peakBytes < before + 4 * Self.gibibyte - Self.slack, "the two were not there at once")
    TensorMemory.resetPeak()
    #expect(TensorMemory.peakBytes < before + Self.slack)
    #expect(TensorMemory.peakBytes >= 0)
    TensorMemory.returnUnused()
  }

  /// Results that nobody takes are freed.
  @Test func untakenResultsAreFreed() throws {
    let before = TensorMemory.liveBytes
    do {
      let x = try Tensor.empty([2, Self.gibibyte], dtype: .uint8)
      let unbind = Operator("aten::unbind", "int")
      try unbind.run(.tensor(x))
      _ = try unbind(.tensor(x))
      _ = try unbind.all(.tensor(x))
    }
    #expect(TensorMemory.liveBytes < before + Self.slack)
  }
}
