import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

/// The kernels among each other and against the Double computation that the family's tests prove.
@Suite(.serialized) struct MomentKernelsTests {
  static let norms = FamilyCase.norms
  static let layouts: [MemoryFormat] = [.contiguous, .channelsLast]

  struct Result {
    let y: [Double]
    let dx: [Double]
    let weight: [Double]
    let bias: [Double]
    var all: [[Double]] { [y, dx, weight, bias] }
  }

  /// Forward and backward of a layer on x with cotangent g, in the given type and layout.
  static func run(
    _ norm: Normalization, _ x: Tensor, _ g: Tensor, dtype: DType, layout: MemoryFormat = .contiguous,
    activation: Activation = .relu, kernels: (any MomentKernels)? = nil
  ) throws -> Result {
    let channels = x.shape[1]
    let layer = try #require(try norm.layer(channels: channels) as? NormalizationLayer)
    try layer.to(dtype: dtype.accumulation)
    try layer.weight?.value.copy(from: Tensor((0..<channels).map { 0.5 + Double($0 % 7) / 5 }))
    try layer.bias?.value.copy(from: Tensor((0..<channels).map { Double($0 % 3) / 4 - 0.2 }))
    let input = try x.to(dtype: dtype).contiguous(layout).detached().requiringGradient()
    return try MomentNormalization.$kernelsOverride.withValue(kernels) {
      let y = try layer(input, activation: activation)
      try y.backward(g.to(dtype: dtype))
      #expect(y.isContiguous(layout))
      #expect(input.gradient?.isContiguous(layout) == true)
      return Result(
        y: try y.array(), dx: try #require(input.gradient).array(),
        weight: try #require(layer.weight?.gradient).array(), bias: try #require(layer.bias?.gradient).array())
    }
  }

  static func data(_ shape: [Int], mean: Double = 0, dtype: DType = .float32) throws -> (x: Tensor, g: Tensor) {
    let x = try (Tensor.normal(shape, generator: Generator(seed: 1)).to(dtype: .float64) + mean).to(dtype: dtype)
    return (x, try Tensor.normal(shape, generator: Generator(seed: 2)).to(dtype: dtype))
  }

  /// Planes that are cut into several pieces, and channels that fill no vector.
  @Test(arguments: norms.filter { $0 != .group(groups: 2) }, layouts)
  func piecesOfLargePlanesAddUp(_ norm: Normalization, _ layout: MemoryFormat) throws {
    let shape = [2, 3, 290, 301]
    let (x, g) = try Self.data(shape, mean: 3, dtype: .float64)
    let actual = try Self.run(norm, x, g, dtype: .float64, layout: layout, activation: .none)
    let item = FamilyCase(norm: norm, shape: shape)
    let reference = ReferenceNormalization(
      item.statistics, meanLogits: item.statistics.map { _ in 1 }, varianceLogits: item.statistics.map { _ in 1 },
      weight: [0.5, 0.7, 0.9], bias: [-0.2, 0.05, 0.3])
    #expect(relativeError(actual.y, item.apply(reference, try x.array())) < 1e-11)
    let other = try Self.run(
      norm, x, g, dtype: .float64, layout: layout, activation: .none, kernels: LibtorchMomentKernels())
    for (a, b) in zip(actual.all, other.all) { #expect(relativeError(a, b) < 1e-10) }
  }

  /// Every number of channels around the width of a vector, in every type, on every instruction set.
  @Test(arguments: [1, 3, 5, 16, 17, 33, 48, 64, 100], [DType.float32, .bfloat16, .float64])
  func channelsThatFillNoVector(_ channels: Int, _ dtype: DType) throws {
    let (x, g) = try Self.data([2, channels, 7, 9], mean: 1, dtype: .bfloat16)
    for norm in [Normalization.batch, .layer, .switchable] {
      let exact = try Self.run(norm, x, g, dtype: .float64)
      for layout in Self.layouts where !(layout == .channelsLast && channels == 1) {
        // Stores through the cache and past it; planes of 63 values begin anywhere in a vector.
        for (set, streamsAbove) in InstructionSet.available.flatMap({ [($0, 0), ($0, Int.max)] }) {
          let actual = try Self.run(
            norm, x, g, dtype: dtype, layout: layout,
            kernels: FusedMomentKernels(instructionSet: set, streamsAbove: streamsAbove))
          for (a, b) in zip(actual.all, exact.all) {
            #expect(
              relativeError(a, b) < (dtype == .float64 ? 1e-12 : dtype == .float32 ? 2e-6 : 1.0 / 200),
              "\(norm.name) \(layout) \(set)")
          }
        }
      }
    }
  }

  /// At a mean of 10⁴ deviations, float32 data still come out with float32 accuracy.
  @Test(arguments: norms, layouts) func largeMeansKeepTheirDigits(_ norm: Normalization, _ layout: MemoryFormat) throws
  {
    let (x, g) = try Self.data([2, 8, 96, 96], mean: 1e4)
    let exact = try Self.run(norm, x, g, dtype: .float64)
    for set in InstructionSet.available {
      let actual = try Self.run(
        norm, x, g, dtype: .float32, layout: layout, kernels: FusedMomentKernels(instructionSet: set))
      #expect(relativeError(actual.y, exact.y) < 1e-6, "\(set)")
      #expect(relativeError(actual.dx, exact.dx) < 1e-5, "\(set)")
      #expect(relativeError(actual.weight, exact.weight) < 1e-5, "\(set)")
    }
    // The bound tells: a · x + b without the center does not pass it.
    let plain = try Self.run(norm, x, g, dtype: .float32, layout: layout, kernels: LibtorchMomentKernels())
    #expect(relativeError(plain.y, exact.y) > 1e-5)
  }

  /// A sum of many equal numbers is where float32 accumulation drifts.
  @Test(arguments: layouts) func largePlanesKeepTheirDigits(_ layout: MemoryFormat) throws {
    let (noise, g) = try Self.data([1, 4, 700, 700])
    let x = try (noise.to(dtype: .float64) * 0.01 + 100).to(dtype: .float32)
    let exact = try Self.run(.batch, x, g, dtype: .float64, activation: .none)
    let actual = try Self.run(.batch, x, g, dtype: .float32, layout: layout, activation: .none)
    for (a, b) in zip(actual.all, exact.all) { #expect(relativeError(a, b) < 2e-6) }
  }

  /// The stated bound between instruction sets: a few roundings, as some have fused multiply-add.
  @Test(arguments: norms, layouts) func instructionSetsAgree(_ norm: Normalization, _ layout: MemoryFormat) throws {
    let (x, g) = try Self.data([2, 40, 23, 31], mean: 0.5)
    for (dtype, bound) in [(DType.float32, 2e-6), (.bfloat16, 1.0 / 100), (.float64, 1e-14)] {
      let results = try InstructionSet.available.map {
        try Self.run(norm, x, g, dtype: dtype, layout: layout, kernels: FusedMomentKernels(instructionSet: $0))
      }
      for result in results.dropFirst() {
        for (a, b) in zip(result.all, results[0].all) { #expect(relativeError(a, b) < bound) }
      }
    }
  }

  @Test(arguments: norms, layouts) func threadsDoNotChangeTheResult(_ norm: Normalization, _ layout: MemoryFormat)
    throws
  {
    let before = Runtime.threads
    defer { Runtime.threads = before }
    // Blocks that fit a core's cache and blocks that do not.
    for shape in [[3, 24, 40, 40], [1, 4, 410, 410]] {
      let (x, g) = try Self.data(shape)
      var results: [Result] = []
      for threads in [1, 2, 3, 7] {
        Runtime.threads = threads
        results.append(try Self.run(norm, x, g, dtype: .float32, layout: layout))
      }
      for result in results.dropFirst() { #expect(result.all == results[0].all) }
    }
  }

  @Test(arguments: [Activation.none, .relu, .leakyReLU(slope: 0.1), .silu], norms)
  func activationsAreThoseOfTheOperators(_ activation: Activation, _ norm: Normalization) throws {
    let (x, g) = try Self.data([2, 8, 6, 7], dtype: .float64)
    for kernels: (any MomentKernels)? in [nil, LibtorchMomentKernels()] {
      let fused = try Self.run(norm, x, g, dtype: .float64, activation: activation, kernels: kernels)
      let layer = try #require(try norm.layer(channels: 8) as? NormalizationLayer)
      try layer.to(dtype: .float64)
      try layer.weight?.value.copy(from: Tensor((0..<8).map { 0.5 + Double($0 % 7) / 5 }))
      try layer.bias?.value.copy(from: Tensor((0..<8).map { Double($0 % 3) / 4 - 0.2 }))
      let input = try x.detached().requiringGradient()
      let y = try activation(layer(input))
      try y.backward(g)
      #expect(relativeError(fused.y, try y.array()) < 1e-12)
      let gradient = try #require(input.gradient)
      #expect(relativeError(fused.dx, try gradient.array()) < 1e-11)
    }
  }

  /// The gradient of a part of a concatenation is read where it lies, in rows that are further apart than the part is wide.
  @Test(arguments: [DType.float32, .bfloat16, .float64], [32, 64, 33]) func gradientsMayLieInWiderRows(
    _ dtype: DType, _ channels: Int
  ) throws {
    let (x, _) = try Self.data([2, channels, 9, 11])
    let (wide, _) = try Self.data([2, 3 * channels, 9, 11])
    for (start, streamsAbove) in [(0, Int.max), (channels, 0)] {
      let part = try wide.to(dtype: dtype).contiguous(.channelsLast).sliced(start..<start + channels, dimension: 1)
      for set in InstructionSet.available {
        let kernels = FusedMomentKernels(instructionSet: set, streamsAbove: streamsAbove)
        let apart = try Self.run(.switchable, x, part, dtype: dtype, layout: .channelsLast, kernels: kernels)
        let dense = try Self.run(
          .switchable, x, part.contiguous(.channelsLast), dtype: dtype, layout: .channelsLast, kernels: kernels)
        #expect(apart.all == dense.all, "\(set)")
      }
    }
  }

  /// A diverged training must show, not be cut off by a ReLU.
  @Test(arguments: [DType.float32, .bfloat16, .float64], layouts) func notANumberStaysOne(
    _ dtype: DType, _ layout: MemoryFormat
  ) throws {
    let (x, g) = try Self.data([2, 33, 5, 5])
    try x.selected(0).selected(3).fill(.nan)
    for set in InstructionSet.available {
      let kernels = FusedMomentKernels(instructionSet: set)
      let result = try Self.run(.instance, x, g, dtype: dtype, layout: layout, kernels: kernels)
      for channel in 0..<33 {
        let plane = result.y[channel * 25..<(channel + 1) * 25]
        #expect(plane.allSatisfy { $0.isNaN == (channel == 3) }, "\(set)")
      }
    }
  }

  @Test func theFastestSetIsTheFirst() throws {
    #expect(!InstructionSet.available.isEmpty)
    #expect(Set(InstructionSet.available.map(\.description)).count == InstructionSet.available.count)
    #if arch(x86_64)
      #expect(InstructionSet.available.last?.description == "x86-64")
    #endif
  }
}
