import NormaNN
import NormaTensor

/// Changes parameters in the direction that their gradients tell.
public protocol Optimizer: AnyObject {
  /// May be set between steps; schedules do.
  var learningRate: Double { get set }

  /// Updates all parameters that have a gradient, in place.
  func step() throws

  /// What it remembers of the steps so far, for checkpoints.
  var state: OptimizerState { get set }
}

/// An optimizer as a value: what a configuration or a command line names.
public enum OptimizerKind: String, Sendable, CaseIterable {
  case adam
  case adamw
  case sgd
  case nesterov
  case rmsprop
  case adagrad

  /// A learning rate to begin with.
  public var defaultLearningRate: Double {
    switch self {
    case .adam, .adamw, .rmsprop: 1e-3
    case .sgd, .nesterov, .adagrad: 1e-2
    }
  }

  /// The momentum where none is given, or nil for optimizers without.
  public var defaultMomentum: Double? {
    switch self {
    case .sgd, .nesterov: 0.9
    case .rmsprop: 0
    case .adam, .adamw, .adagrad: nil
    }
  }

  /// - Parameters:
  ///   - momentum: of sgd, nesterov and rmsprop; nil means ``defaultMomentum``.
  ///   - weightDecay: added to the gradient as weightDecay · parameter; decoupled from it for adamw.
  public func make(
    parameters: [Parameter], learningRate: Double, momentum: Double? = nil, weightDecay: Double = 0
  ) throws -> any Optimizer {
    let parameters = parameters.filter { !$0.isFrozen }
    switch self {
    case .adam, .adamw:
      return try Adam(
        parameters, learningRate: learningRate, weightDecay: weightDecay, decoupled: self == .adamw)
    case .sgd, .nesterov:
      return try SGD(
        parameters, learningRate: learningRate, momentum: momentum ?? defaultMomentum!, weightDecay: weightDecay,
        nesterov: self == .nesterov)
    case .rmsprop:
      return try RMSprop(
        parameters, learningRate: learningRate, momentum: momentum ?? defaultMomentum!, weightDecay: weightDecay)
    case .adagrad: return try Adagrad(parameters, learningRate: learningRate, weightDecay: weightDecay)
    }
  }
}

/// An optimizer with a momentum of its own: what a list of optimizers names, as `sgd`, `sgd:0` or `adam`.
public struct OptimizerChoice: Sendable, Hashable {
  public var kind: OptimizerKind
  /// nil means ``OptimizerKind/defaultMomentum``.
  public var momentum: Double?

  public init(_ kind: OptimizerKind, momentum: Double? = nil) {
    self.kind = kind
    self.momentum = momentum
  }

  /// - Throws: ``TrainingError`` for what is no optimizer, and for a momentum that it cannot have.
  public init(parsing text: String) throws {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let kind = OptimizerKind(rawValue: String(parts[0])) else {
      throw TrainingError(
        "'\(text)' is no optimizer; choose from \(OptimizerKind.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    self.init(kind)
    guard parts.count == 2 else { return }
    guard kind.defaultMomentum != nil else {
      throw TrainingError("'\(text)': \(kind.rawValue) has no momentum; leave it out")
    }
    guard let momentum = Double(parts[1]), (0..<1).contains(momentum) else {
      throw TrainingError("'\(text)': a momentum of at least 0 and below 1 was expected, as in \(kind.rawValue):0.9")
    }
    // Two spellings are one choice.
    self.momentum = momentum == kind.defaultMomentum ? nil : momentum
  }

  /// As ``init(parsing:)`` takes it.
  public var name: String {
    momentum.map { "\(kind.rawValue):\($0 == 0 ? "0" : "\($0)")" } ?? kind.rawValue
  }
}

/// The parameters with their per-parameter state, and the pairs of both that have a gradient now.
public struct OptimizerState {
  let parameters: [Parameter]
  /// What PyTorch calls the slots.
  private let names: [String]
  /// state[slot][parameter], zeros of the parameter's shape.
  private var slots: [[Tensor]]
  /// Number of the last step of every parameter.
  private var steps: [Int]

  init(_ parameters: [Parameter], slots names: [String]) throws {
    self.parameters = parameters
    self.names = names
    slots = try names.map { _ in try parameters.map { try $0.value.detached().zerosLike() } }
    steps = parameters.map { _ in 0 }
  }

  /// The state by keys as `3.exp_avg`, that of the parameter with index 3; under `3.step` the number of its last step.
  public func stateDictionary() throws -> [(key: String, value: Tensor)] {
    try parameters.indices.flatMap { index in
      try [(key: "\(index).step", value: Tensor(steps[index]))]
        + names.indices.map { (key: "\(index).\(names[$0])", value: slots[$0][index]) }
    }
  }

  /// Takes over what ``stateDictionary()`` gave for the same parameters.
  /// - Throws: `StateError` naming all missing, unexpected and misshaped entries; then nothing was taken over.
  public mutating func load(stateDictionary: [String: Tensor]) throws {
    let own = try self.stateDictionary()
    try StateError.check(stateDictionary.mapValues(\.shape), against: own.map { ($0.key, $0.value.shape) })
    for (key, value) in own {
      guard let given = stateDictionary[key] else { continue }
      if key.hasSuffix(".step"), let index = Int(key.dropLast(".step".count)) {
        steps[index] = try given.stepCount(key)
      } else {
        try value.copy(from: given)
      }
    }
  }

  /// Calls the body with the tensors of all parameters that have a gradient, having counted the step. What the
  /// body gets for one parameter is of one type and lies in memory alike, as the fused steps take for granted.
  mutating func update(
    _ body: (_ parameters: [Tensor], _ gradients: [Tensor], _ slots: [[Tensor]], _ steps: [Tensor]) throws ->
      Void
  ) throws {
    var (values, gradients, used): ([Tensor], [Tensor], [Int]) = ([], [], [])
    for (index, parameter) in parameters.enumerated() {
      guard !parameter.isFrozen, let gradient = parameter.gradient else { continue }
      values.append(parameter.value)
      gradients.append(gradient)
      used.append(index)
    }
    guard !used.isEmpty else { return }
    try withoutGradients {
      for (place, index) in used.enumerated() {
        gradients[place] = try gradients[place].aligned(with: values[place])
        for slot in slots.indices { slots[slot][index] = try slots[slot][index].aligned(with: values[place]) }
      }
      // float32 of rank 0, as the fused steps want them; mostly all parameters share one.
      struct Place: Hashable {
        let count: Int
        let device: Device
      }
      var counts: [Place: Tensor] = [:]
      let steps = try used.enumerated().map { place, index in
        self.steps[index] += 1
        let step = Place(count: self.steps[index], device: values[place].device)
        if let tensor = counts[step] { return tensor }
        let tensor = try Tensor(Float(step.count), device: step.device)
        counts[step] = tensor
        return tensor
      }
      // Views in the order of memory: the fused steps copy what is not contiguous. All tensors of a parameter lie alike.
      let orders = values.map { $0.isContiguous() ? nil : $0.orderOfMemory }
      func views(_ tensors: [Tensor]) throws -> [Tensor] {
        try zip(tensors, orders).map { tensor, order in try order.map { try tensor.permuted($0) } ?? tensor }
      }
      try body(
        views(values), views(gradients), slots.map { (slot: [Tensor]) in try views(used.map { slot[$0] }) }, steps)
    }
  }
}

extension Tensor {
  /// The dimensions by descending strides.
  fileprivate var orderOfMemory: [Int] {
    let strides = strides
    return strides.indices.sorted { (strides[$0], $1) > (strides[$1], $0) }
  }

  /// This tensor if its type and layout are those of a parameter of the same shape, else a copy for which they are.
  fileprivate func aligned(with parameter: Tensor) throws -> Tensor {
    func fits(_ tensor: Tensor) -> Bool {
      tensor.dtype == parameter.dtype && tensor.device == parameter.device
        && zip(parameter.shape, zip(tensor.strides, parameter.strides)).allSatisfy { $0 == 1 || $1.0 == $1.1 }
    }
    if fits(self) { return self }
    let copy = try parameter.zerosLike()
    guard fits(copy) else {
      throw TrainingError(
        "a parameter of shape \(parameter.shape) with strides \(parameter.strides) has gaps or overlaps in memory; "
          + "make it from a contiguous tensor")
    }
    try copy.copy(from: self)
    return copy
  }
}

/// Adam (Kingma & Ba 2015), and with decoupled weight decay AdamW (Loshchilov & Hutter 2019).
public final class Adam: Optimizer {
  public var learningRate: Double
  private let beta1: Double
  private let beta2: Double
  private let epsilon: Double
  private let weightDecay: Double
  private let decoupled: Bool
  public var state: OptimizerState

  public init(
    _ parameters: [Parameter], learningRate: Double = 1e-3, beta1: Double = 0.9, beta2: Double = 0.999,
    epsilon: Double = 1e-8, weightDecay: Double = 0, decoupled: Bool = false
  ) throws {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.decoupled = decoupled
    state = try OptimizerState(parameters, slots: ["exp_avg", "exp_avg_sq"])
  }

  public func step() throws {
    try state.update { parameters, gradients, slots, steps in
      try FusedStep.adam(
        parameters: parameters, gradients: gradients, firstMoments: slots[0], secondMoments: slots[1],
        steps: steps, learningRate: learningRate, beta1: beta1, beta2: beta2, weightDecay: weightDecay,
        epsilon: epsilon, decoupled: decoupled)
    }
  }
}

/// Stochastic gradient descent with momentum, in the form of PyTorch: v ← m v + g, p ← p − η v, or with
/// Nesterov's look-ahead p ← p − η (g + m v) (Sutskever et al. 2013).
public final class SGD: Optimizer {
  public var learningRate: Double
  private let momentum: Double
  private let weightDecay: Double
  private let nesterov: Bool
  public var state: OptimizerState

  public init(
    _ parameters: [Parameter], learningRate: Double = 1e-2, momentum: Double = 0, weightDecay: Double = 0,
    nesterov: Bool = false
  ) throws {
    self.learningRate = learningRate
    self.momentum = momentum
    self.weightDecay = weightDecay
    self.nesterov = nesterov
    // libtorch takes buffers only where there is momentum.
    state = try OptimizerState(parameters, slots: momentum == 0 ? [] : ["momentum_buffer"])
  }

  public func step() throws {
    try state.update { parameters, gradients, slots, _ in
      // The buffers start at zero, so the first step needs no case of its own.
      try FusedStep.sgd(
        parameters: parameters, gradients: gradients, momentumBuffers: slots.first ?? [],
        learningRate: learningRate,
        momentum: momentum, weightDecay: weightDecay, nesterov: nesterov, isFirstStep: false)
    }
  }
}

/// Adagrad (Duchi et al. 2011).
public final class Adagrad: Optimizer {
  public var learningRate: Double
  private let weightDecay: Double
  private let epsilon: Double
  public var state: OptimizerState

  public init(
    _ parameters: [Parameter], learningRate: Double = 1e-2, weightDecay: Double = 0, epsilon: Double = 1e-10
  ) throws {
    self.learningRate = learningRate
    self.weightDecay = weightDecay
    self.epsilon = epsilon
    state = try OptimizerState(parameters, slots: ["sum"])
  }

  public func step() throws {
    try state.update { parameters, gradients, slots, steps in
      try FusedStep.adagrad(
        parameters: parameters, gradients: gradients, sums: slots[0], steps: steps,
        learningRate: learningRate, weightDecay: weightDecay, epsilon: epsilon)
    }
  }
}

/// RMSprop (Hinton's lecture 6e, 2012), in the form of PyTorch: s ← α s + (1 − α) g², then a step along
/// g / (√s + ε), with momentum on that quotient.
public final class RMSprop: Optimizer {
  public var learningRate: Double
  private let decay: Double
  private let momentum: Double
  private let weightDecay: Double
  private let epsilon: Double
  public var state: OptimizerState

  public init(
    _ parameters: [Parameter], learningRate: Double = 1e-3, decay: Double = 0.99, momentum: Double = 0,
    weightDecay: Double = 0, epsilon: Double = 1e-8
  ) throws {
    self.learningRate = learningRate
    self.decay = decay
    self.momentum = momentum
    self.weightDecay = weightDecay
    self.epsilon = epsilon
    state = try OptimizerState(parameters, slots: ["square_avg", "momentum_buffer"])
  }

  public func step() throws {
    try state.update { parameters, gradients, slots, _ in
      for index in parameters.indices {
        let (parameter, squares, velocity) = (parameters[index], slots[0][index], slots[1][index])
        let gradient =
          weightDecay == 0 ? gradients[index] : try gradients[index] + parameter * weightDecay
        try squares.scale(by: decay)
        try squares.add(gradient.squared(), scale: 1 - decay)
        let direction = try gradient / (squares.squareRoot() + epsilon)
        if momentum > 0 {
          try velocity.scale(by: momentum)
          try velocity.add(direction)
          try parameter.add(velocity, scale: -learningRate)
        } else {
          try parameter.add(direction, scale: -learningRate)
        }
      }
    }
  }
}
