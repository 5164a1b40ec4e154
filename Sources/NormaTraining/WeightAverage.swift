import NormaNN
import NormaTensor

/// The exponential moving average of a network's state over the training steps: of the weights, and of running statistics
/// with them.
///
///     average ← d · average + (1 − d) · state,   d = min(decay, (1 + n) / (10 + n)) in step n
///
/// The smaller share at the start keeps the initial weights out. Polyak & Juditsky 1992 for the idea; the start as in
/// TensorFlow's ExponentialMovingAverage.
public final class WeightAverage {
  /// The network's parameters and running statistics, and their averages.
  private let values: [Tensor]
  private let averages: [Tensor]
  private let keys: [String]
  private let decay: Double
  private var updates = 0

  /// - Parameter decay: the share of the old average, at least 0 and below 1.
  public init(_ module: Module, decay: Double) throws {
    // Buffers of rank 0 count or follow a schedule.
    let buffers = Set(module.namedBuffers().filter { $0.buffer.value.rank == 0 }.map(\.key))
    let state = module.stateDictionary().filter { $0.value.dtype.isFloatingPoint && !buffers.contains($0.key) }
    keys = state.map(\.key)
    values = try state.map { try $0.value.detached() }
    averages = try values.map { try $0.cloned() }
    self.decay = decay
  }

  /// Takes in the state after a step.
  public func update() throws {
    let kept = min(decay, Double(1 + updates) / Double(10 + updates))
    updates += 1
    try withoutGradients {
      for (value, average) in zip(values, averages) {
        try average.scale(by: kept)
        try average.add(value, scale: 1 - kept)
      }
    }
  }

  /// Runs the body while the network has the averages.
  public func applied<Result>(_ body: () throws -> Result) throws -> Result {
    try exchange()
    let result = Swift.Result { try body() }
    try exchange()
    return try result.get()
  }

  /// Gives the network the averages and keeps what it had in their place.
  public func exchange() throws {
    try withoutGradients {
      for (value, average) in zip(values, averages) {
        let kept = try value.cloned()
        try value.copy(from: average)
        try average.copy(from: kept)
      }
    }
  }

  /// The averages by the keys of the network's state, and under `updates` how many steps they have seen.
  func stateDictionary() throws -> [(key: String, value: Tensor)] {
    try zip(keys, averages).map { (key: $0, value: $1) } + [(key: "updates", value: Tensor(updates))]
  }

  func load(stateDictionary: [String: Tensor]) throws {
    let own = try self.stateDictionary()
    try StateError.check(stateDictionary.mapValues(\.shape), against: own.map { ($0.key, $0.value.shape) })
    for (key, average) in zip(keys, averages) { if let given = stateDictionary[key] { try average.copy(from: given) } }
    if let given = stateDictionary["updates"] { updates = try given.stepCount("updates") }
  }
}
