import NormaTensor
import TestSupport
import Testing

@Suite struct CreationTests {
  private func roundTrip<Element: TensorElement & Equatable>(_ values: [Element], _ dtype: DType) throws {
    let tensor = try Tensor(values, shape: [values.count / 2, 2])
    #expect(tensor.dtype == dtype)
    #expect(tensor.shape == [values.count / 2, 2])
    #expect(tensor.count == values.count)
    #expect(tensor.rank == 2)
    #expect(tensor.strides == [2, 1])
    #expect(try tensor.array(of: Element.self) == values)
    #expect(dtype.size == MemoryLayout<Element>.size)
  }

  @Test func everyElementType() throws {
    try roundTrip([0, 1.5, -.infinity, .greatestFiniteMagnitude] as [Float], .float32)
    try roundTrip([0.1, -1e300, .infinity, .leastNonzeroMagnitude] as [Double], .float64)
    try roundTrip([.min, .max, 0, -1] as [Int], .int64)
    try roundTrip([.min, .max, 0, -1] as [Int64], .int64)
    try roundTrip([.min, .max, 0, -1] as [Int32], .int32)
    try roundTrip([.min, .max, 0, -1] as [Int16], .int16)
    try roundTrip([.min, .max, 0, -1] as [Int8], .int8)
    try roundTrip([.min, .max, 128, 1] as [UInt8], .uint8)
    try roundTrip([true, false, false, true], .bool)
    #expect(try Tensor([Double.nan, 1]).array(of: Double.self)[0].isNaN)
  }

  @Test func scalarsAndEmptyTensors() throws {
    let scalar = try Tensor(2.5)
    #expect(scalar.shape == [])
    #expect(scalar.rank == 0)
    #expect(try scalar.item() == 2.5)
    #expect(try Tensor(7).item() == 7)
    let empty = try Tensor([Float](), shape: [0, 3])
    #expect(empty.shape == [0, 3])
    #expect(try empty.array(of: Float.self) == [])
    #expect(try Tensor([Double](), shape: [2, 0]).sum().item() == 0)
    #expect(throws: TensorError.self) { try empty.item() }
  }

  @Test func filled() throws {
    for dtype in DType.allCases {
      let zeros = try Tensor.zeros([2, 2], dtype: dtype)
      #expect(zeros.dtype == dtype)
      try expect(zeros, [0, 0, 0, 0], shape: [2, 2])
      try expect(Tensor.ones([3], dtype: dtype), [1, 1, 1])
      #expect(try Tensor.full([1], 1, dtype: dtype).dtype == dtype)
      #expect(try Tensor.empty([2, 3], dtype: dtype).shape == [2, 3])
      #expect(try zeros.zerosLike().dtype == dtype)
    }
    try expect(Tensor.full([2], -2.5, dtype: .float64), [-2.5, -2.5])
    try expect(Tensor.range(4), [0, 1, 2, 3])
    #expect(try Tensor.range(4).dtype == .int64)
    #expect(try Tensor.range(4, dtype: .float64).dtype == .float64)
    #expect(try Tensor.range(0).shape == [0])
  }

  @Test func inPlaceChangesAreShared() throws {
    let a = try Tensor([1.0, 2])
    let b = a
    let copy = try a.cloned()
    try b.fill(9)
    try expect(a, [9, 9])
    try expect(copy, [1, 2])
    try a.copy(from: Tensor([3 as Float]))
    try expect(b, [3, 3])
    let like = try a.zerosLike()
    try expect(like, [0, 0])
    try expect(a, [3, 3])
    let last = try Tensor.empty([1, 2, 2, 2], memoryFormat: .channelsLast)
    #expect(last.isContiguous(.channelsLast) && !last.isContiguous())
    #expect(try last.zerosLike().strides == last.strides)
  }

  @Test func conversions() throws {
    let x = try Tensor([-1.5, 0, 2.75, 300])
    #expect(try x.to(dtype: .int32).array(of: Int32.self) == [-1, 0, 2, 300])
    #expect(try x.to(dtype: .bool).array(of: Bool.self) == [true, false, true, true])
    #expect(try x.array(of: Float.self) == [-1.5, 0, 2.75, 300])
    // 1 + 2⁻⁹ has too many digits for bfloat16 (8) and not for float16 (11).
    let fine = try Tensor([1 + 1.0 / 512])
    try expect(fine.to(dtype: .bfloat16), [1])
    try expect(fine.to(dtype: .float16), [1 + 1.0 / 512])
    #expect(try Tensor([1e5]).to(dtype: .float16).doubles == [.infinity])
    #expect(try x.to(device: .cpu).doubles == x.doubles)
    #expect(DType.bfloat16.accumulation == .float32)
    #expect(DType.float16.accumulation == .float32)
    #expect(DType.float64.accumulation == .float64)
    #expect(DType.allCases.filter(\.isFloatingPoint) == [.float16, .float32, .float64, .bfloat16])
    #expect(DType.bfloat16.size == 2)
  }

  /// Arrays come in row-major order of the indices, whatever the order in memory.
  @Test func nonContiguousTensorsAreReadRight() throws {
    let x = try Tensor((0..<6).map(Double.init), shape: [2, 3])
    let turned = try x.transposed(0, 1)
    #expect(!turned.isContiguous())
    #expect(turned.strides == [1, 3])
    try expect(turned, [0, 3, 1, 4, 2, 5], shape: [3, 2])
    try expect(x.sliced(0..<3, dimension: 1, step: 2), [0, 2, 3, 5], shape: [2, 2])
    try expect(x.selected(1, dimension: 1), [1, 4], shape: [2])
    try expect(Tensor([7.0]).expanded([3]), [7, 7, 7])
    #expect(try turned.array(of: Int8.self) == [0, 3, 1, 4, 2, 5], "also when converted")
    #expect(try turned.to(dtype: .float32).array(of: Float.self) == [0, 3, 1, 4, 2, 5])
    #expect(try turned.sliced(1..<2).selected(0).selected(1).item() == 4)
    let last = try Tensor((0..<8).map(Double.init), shape: [1, 2, 2, 2]).contiguous(.channelsLast)
    try expect(last, (0..<8).map(Double.init))
    #expect(try turned.contiguous().strides == [2, 1])
    try expect(turned.contiguous(), [0, 3, 1, 4, 2, 5])
    // In memory, channels-last is what it says.
    let memory = try last.withDataPointer { pointer in
      (0..<8).map { pointer.assumingMemoryBound(to: Double.self)[$0] }
    }
    #expect(memory == [0, 4, 1, 5, 2, 6, 3, 7])
  }

  @Test func descriptionsTellShapeTypeAndValues() throws {
    #expect(try Tensor([1.0, 2]).description == "Tensor([2], float64, cpu) [1.0, 2.0]")
    #expect(try Tensor.zeros([5, 5]).description == "Tensor([5, 5], float32, cpu)")
  }
}

@Suite struct GeneratorTests {
  @Test func sameSeedSameNumbers() throws {
    func draw(_ seed: UInt64) throws -> [Double] {
      let generator = try Generator(seed: seed)
      return try Tensor.normal([20], generator: generator).doubles
        + Tensor.uniform([20], generator: generator).doubles
        + Tensor.bernoulli([20], probability: 0.5, generator: generator).doubles
    }
    #expect(try draw(3) == draw(3))
    #expect(try draw(3) != draw(4))
    #expect(try draw(.max) == draw(.max))
  }

  /// Odd counts of normal numbers leave half a pair behind, which belongs to the state.
  @Test func stateIsSavedAndRestored() throws {
    let generator = try Generator(seed: 1)
    func draw() throws -> [Double] {
      try (0..<3).flatMap { _ in
        try Tensor.normal([3], generator: generator).doubles + Tensor.normal([], generator: generator).doubles
      }
    }
    _ = try draw()
    let state = try generator.state()
    #expect(state.dtype == .uint8)
    let first = try draw()
    #expect(try draw() != first, "the stream goes on")
    try generator.setState(state)
    #expect(try draw() == first)
    let other = try Generator(seed: 99)
    try other.setState(state)
    #expect(try Tensor.normal([3], generator: other).doubles == Array(first.prefix(3)))
    #expect(throws: TensorError.self) { try generator.setState(Tensor([1, 2, 3] as [UInt8])) }
  }

  @Test func generatorsAreIndependent() throws {
    let alone = try Generator(seed: 7)
    let expected =
      try Tensor.uniform([2], generator: alone).doubles + Tensor.uniform([2], generator: alone).doubles
    let generator = try Generator(seed: 7)
    let other = try Generator(seed: 8)
    var actual = try Tensor.uniform([2], generator: generator).doubles
    _ = try Tensor.uniform([100], generator: other)
    _ = try Tensor.normal([101])
    _ = try Generator(seed: 7)
    actual += try Tensor.uniform([2], generator: generator).doubles
    #expect(actual == expected)
  }

  @Test func distributions() throws {
    let generator = try Generator(seed: 11)
    let normal = try Tensor.normal([20_000], dtype: .float64, generator: generator)
    // Five standard errors.
    #expect(try abs(normal.mean().item()) < 5 / 141.4)
    #expect(try abs(normal.variance().item() - 1) < 5 * 0.01)
    let uniform = try Tensor.uniform([20_000], from: -3, to: 5, dtype: .float64, generator: generator)
    #expect(try uniform.minimum().item() >= -3 && uniform.maximum().item() < 5)
    #expect(try abs(uniform.mean().item() - 1) < 5 * 2.31 / 141.4)
    #expect(try uniform.maximum().item() > 4.9 && uniform.minimum().item() < -2.9)
    let bernoulli = try Tensor.bernoulli([20_000], probability: 0.3, generator: generator)
    #expect(try abs(bernoulli.mean().item() - 0.3) < 5 * 0.46 / 141.4)
    #expect(try bernoulli.doubles.allSatisfy { $0 == 0 || $0 == 1 })
  }
}
