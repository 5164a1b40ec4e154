import NormaDistributed
import NormaNN
import NormaTensor
import TestSupport
import Testing
import WorkerSupport

@testable import NormaNormalization

/// K workers with parts of a batch give what one process gives with all of it, in Double.
@Suite(.serialized) struct SynchronizedNormTests {
  static let shape = [7, 4, 3, 5]

  private static func data(_ shape: [Int], seed: UInt64) throws -> Tensor {
    var random = TestRandom(seed)
    return try Tensor(random.numbers(shape.reduce(1, *)), shape: shape)
  }

  /// What a pass leaves: outputs, gradients of inputs, of parameters, and the state.
  struct Pass: Sendable {
    var output: [Double] = []
    var inputGradient: [Double] = []
    var parameters: [[Double]] = []
    var state: [[Double]] = []
    var evaluated: [Double] = []
  }

  /// Two steps on a part of the batch, so that running statistics have a past.
  private static func pass(
    _ name: String, _ samples: Range<Int>, shape: [Int] = shape, format: MemoryFormat = .contiguous
  ) throws -> Pass {
    guard let layer = try Normalization(parsing: name).layer(channels: shape[1]) else { return Pass() }
    var random = TestRandom(5)
    for parameter in layer.parameters {
      let values = random.numbers(parameter.value.count).map { $0 + 1 }
      try withoutGradients { try parameter.value.copy(from: Tensor(values, shape: parameter.value.shape)) }
    }
    try layer.to(dtype: .float64)
    var pass = Pass()
    for step in 0..<2 {
      let x = try (data(shape, seed: UInt64(step) + 1) * 2 + 3).contiguous(format)
      let weights = try data(shape, seed: 9)
      let input = try x.sliced(samples).detached().requiringGradient()
      for parameter in layer.parameters { try parameter.value.setGradient(nil) }
      let output = try layer(input)
      // A loss whose gradient is different everywhere and depends on the output.
      let counted = ProcessGroup.counts ? 1.0 : 0
      try ((output * weights.sliced(samples) + output * output * 0.5).sum() * counted).backward()
      pass.output = try output.array()
      pass.inputGradient = try input.gradient?.array() ?? []
      pass.parameters = try layer.parameters.map { try $0.gradient?.array() ?? [] }
    }
    pass.state = try layer.stateDictionary().map { try $0.value.array() }
    layer.evaluate()
    // Of its own statistics in evaluation too, every worker takes its own.
    if name.contains("untracked") { return pass }
    pass.evaluated = try withoutGradients { try layer(data(shape, seed: 3).sliced(samples)).array() }
    return pass
  }

  /// Cuts the batch as the sizes say; a worker without samples computes with the first one, which does not count.
  private static func joined(
    _ name: String, _ sizes: [Int], shape: [Int] = shape, format: MemoryFormat = .contiguous
  ) throws -> (pass: Pass, states: [[[Double]]]) {
    let parts = try withWorkers(sizes.count) { group in
      let first = sizes[..<group.rank].reduce(0, +)
      let size = sizes[group.rank]
      return try ProcessGroup.$counts.withValue(size > 0) {
        try pass(name, size > 0 ? first..<first + size : 0..<1, shape: shape, format: format)
      }
    }
    var all = parts[0]
    for (part, size) in zip(parts, sizes).dropFirst() {
      if size > 0 {
        all.output += part.output
        all.inputGradient += part.inputGradient
        all.evaluated += part.evaluated
      }
      all.parameters = zip(all.parameters, part.parameters).map { zip($0, $1).map { $0 + $1 } }
    }
    return (all, parts.map(\.state))
  }

  private static func error(_ a: Pass, _ b: Pass) -> Double {
    let parts =
      [(a.output, b.output), (a.inputGradient, b.inputGradient), (a.evaluated, b.evaluated)]
      + zip(a.parameters, b.parameters) + zip(a.state, b.state)
    return parts.map { $0.0.count == $0.1.count ? relativeError($0.0, $0.1) : .infinity }.max() ?? .infinity
  }

  static let synchronized = [
    "batch:synchronized", "batch:synchronized:cumulative", "batch:synchronized:keras", "batch:synchronized:untracked",
    "batch:synchronized:renorm", "switchable:synchronized", "switchable:synchronized:pytorch",
    "switchable:synchronized+group(2)", "evo-b0:synchronized",
  ]

  @Test(arguments: synchronized, [[4, 3], [1, 6], [2, 3, 2], [1, 1, 5], [2, 2, 2, 1], [3, 0, 2, 2]])
  func workersAreOneProcess(_ name: String, _ sizes: [Int]) throws {
    let whole = try Self.pass(name, 0..<7)
    let (joined, states) = try Self.joined(name, sizes)
    #expect(Self.error(joined, whole) < 1e-11)
    // Bit for bit, or networks would drift apart.
    for state in states { #expect(state == states[0]) }
  }

  /// Where the norms take no statistics of other samples, nothing has to be summed.
  @Test(arguments: [
    "layer", "group:2", "instance", "instance:plain", "rms", "frn", "evo-s0:2", "unit", "lrn",
    "switchable:instance+layer",
  ])
  func othersNeedNoSums(_ name: String) throws {
    #expect(Self.error(try Self.joined(name, [3, 4]).pass, try Self.pass(name, 0..<7)) < 1e-12)
  }

  /// The comparison above finds what is wrong: statistics that every worker takes by itself.
  @Test(arguments: [
    ("batch", "batch:synchronized"), ("switchable", "switchable:synchronized"), ("evo-b0", "evo-b0:synchronized"),
  ])
  func localStatisticsAreOthers(_ local: String, _ synchronized: String) throws {
    #expect(Self.error(try Self.joined(local, [3, 4]).pass, try Self.pass(synchronized, 0..<7)) > 1e-2)
  }

  @Test(arguments: ["batch:synchronized", "switchable:synchronized"], [MemoryFormat.contiguous, .channelsLast])
  func everyKernelAndLayout(_ name: String, _ format: MemoryFormat) throws {
    let whole = try Self.pass(name, 0..<7)
    #expect(Self.error(try Self.joined(name, [2, 5], format: format).pass, whole) < 1e-11)
    let parts = try withWorkers(2) { group in
      try MomentNormalization.$kernelsOverride.withValue(LibtorchMomentKernels()) {
        try Self.pass(name, group.rank == 0 ? 0..<2 : 2..<7, format: format)
      }
    }
    #expect(relativeError(parts[0].output + parts[1].output, whole.output) < 1e-11)
    #expect(relativeError(parts[0].inputGradient + parts[1].inputGradient, whole.inputGradient) < 1e-11)
  }

  /// One sample of one value per worker is enough together.
  @Test func vectors() throws {
    let shape = [7, 4]
    let whole = try Self.pass("batch:synchronized", 0..<7, shape: shape)
    #expect(Self.error(try Self.joined("batch:synchronized", [1, 1, 5], shape: shape).pass, whole) < 1e-11)
  }

  /// Sums of squares lose no digits to a mean that is far larger than the deviation, once the running mean knows it.
  @Test func largeMeans() throws {
    var options = BatchNorm.Options()
    (options.momentum, options.isSynchronized) = (1, true)
    let chosen = options
    let shape = [4, 2, 8, 8]
    @Sendable func outputs(_ samples: Range<Int>) throws -> [Double] {
      let layer = try BatchNorm(channels: 2, chosen)
      try layer.to(dtype: .float64)
      let own = try (Self.data(shape, seed: 4) + 1e7).sliced(samples)
      _ = try layer(own)
      return try layer(own).array()
    }
    let whole = try outputs(0..<4)
    let parts = try withWorkers(2) { try outputs($0.rank * 2..<$0.rank * 2 + 2) }
    // The data themselves have nine digits left.
    #expect(relativeError(parts[0] + parts[1], whole) < 1e-12)
  }

  @Test func aListSaysItselfWhatIsSynchronized() throws {
    #expect(throws: (any Error).self) {
      try Normalization(parsing: "switchable:instance+batch:synchronized").layer(channels: 4)
    }
    #expect(throws: (any Error).self) { try Normalization(parsing: "batch:synchronized:ghost=2").layer(channels: 4) }
  }

  @Test func conversionThereAndBack() throws {
    let names = ["batch:keras", "switchable", "evo-b0", "group:2", "batch:ghost=2"]
    let network = Sequential(try names.compactMap { try Normalization(parsing: $0).layer(channels: 4) })
    var random = TestRandom(3)
    for (_, tensor) in network.stateDictionary() where tensor.dtype.isFloatingPoint {
      let values = random.numbers(tensor.count).map { $0 * $0 + 0.5 }
      try withoutGradients { try tensor.copy(from: Tensor(values, shape: tensor.shape)) }
    }
    let state = try network.stateDictionary().map { try $0.value.array(of: Double.self) }
    let x = try Self.data([4, 4, 3, 3], seed: 1).to(dtype: .float32)
    network.evaluate()
    let before: [Double] = try network(x).array()
    let changed = try network.convertNormalization(to: .synchronized)
    #expect(changed == ["layers.0", "layers.1", "layers.2"])
    #expect(try network.convertNormalization(to: .synchronized) == [])
    #expect(try network(x).array() == before)
    #expect(!network.isTraining)
    let kinds = network.namedModules().compactMap { ($0.module as? NormalizationLayer).flatMap { try? $0.partitions } }
    #expect(kinds[1] == [.instance, .layer, .synchronized])
    #expect(try network.stateDictionary().map { try $0.value.array(of: Double.self) } == state)
    #expect(try network.convertNormalization(to: .local) == ["layers.0", "layers.1", "layers.2"])
    #expect(try network(x).array() == before)
    #expect(try network.convertNormalization(to: .local) == [])
  }
}
