import NormaNN
import NormaTensor

/// What the norms of a trained network become.
public enum NormalizationConversion: Sendable {
  /// Batch normalization with fixed statistics and parameters; other norms stay.
  case frozen
  /// Another member of the family. The affine parameters are kept where both have them, and so are running statistics.
  case kind(Normalization)
  /// Batch statistics (``BatchNorm``, ``SwitchableNorm``, ``EvoNorm`` B0) over all processes that train together; ghost batches and other
  /// norms stay. The whole state is kept.
  case synchronized
  /// The way back: every process by itself.
  case local
}

extension Module {
  /// Swaps every norm of the network for another but those over elements (``ElementwiseLayerNorm``, ``ElementwiseRMSNorm``),
  /// ``LocalResponseNorm`` and ``UnitNorm``, keeping γ and β: batch to group before fine-tuning with small batches,
  /// batch to frozen, and so on. Modes, types and devices stay. What a network computes changes, of course, but for
  /// ``NormalizationConversion/frozen`` in evaluation. Where no activation follows, norms that bring one come without it. Optimizers made before hold the old norms' parameters: make them anew.
  ///
  /// Norms are found in every `LayerContainer`, such as `Sequential` and ``ConvNormActivation``.
  /// - Returns: the keys of the norms that were swapped.
  /// - Throws: ``NormalizationError`` that names a norm which the network holds outside of a container, or that a norm cannot
  ///   take the place of; then nothing was swapped.
  @discardableResult
  public func convertNormalization(to target: NormalizationConversion) throws -> [String] {
    var replacements: [ObjectIdentifier: any Layer] = [:]
    let modules = namedModules()
    // Norms that no activation follows.
    let linear = Set(
      modules.flatMap { ($0.module as? any LayerContainer)?.layersWithoutActivation ?? [] }.map { ObjectIdentifier($0) }
    )
    for (key, module) in modules {
      guard let layer = module as? any ConvertibleNorm,
        let replacement = try target.replacement(
          for: layer, key: key, isLinear: linear.contains(ObjectIdentifier(layer)))
      else {
        continue
      }
      replacements[ObjectIdentifier(layer)] = replacement
    }
    var reached = Set<ObjectIdentifier>()
    for case let container as any LayerContainer in modules.map(\.module) {
      container.replaceLayers { layer in
        if replacements[ObjectIdentifier(layer)] != nil { reached.insert(ObjectIdentifier(layer)) }
        return layer
      }
    }
    let keys = modules.filter { replacements[ObjectIdentifier($0.module)] != nil }
    if let lost = keys.first(where: { !reached.contains(ObjectIdentifier($0.module)) }) {
      throw NormalizationError(
        "the norm '\(lost.key)' cannot be swapped: \(lost.key.isEmpty ? "it is the network itself" : "the module that holds it is no LayerContainer"); "
          + "let that module adopt LayerContainer")
    }
    for case let container as any LayerContainer in modules.map(\.module) {
      container.replaceLayers { replacements[ObjectIdentifier($0)] ?? $0 }
    }
    return keys.map(\.key)
  }
}

/// A norm with γ and β per channel that can be swapped for another.
protocol ConvertibleNorm: Layer, StatisticsKeeping {
  var channels: Int { get }
  /// γ and β.
  var affineParameters: (weight: Parameter?, bias: Parameter?) { get }
}

extension NormalizationLayer: ConvertibleNorm {
  final var affineParameters: (weight: Parameter?, bias: Parameter?) { (weight, bias) }
}

extension ConvertibleNorm {
  /// A fresh layer of the same options whose batch statistics are synchronized or not; nil where that changes nothing.
  fileprivate func synchronized(_ isSynchronized: Bool) throws -> (any ConvertibleNorm)? {
    switch self {
    case let norm as BatchNorm
    where norm.options.ghostBatchSize == nil && norm.options.isSynchronized != isSynchronized:
      var options = norm.options
      options.isSynchronized = isSynchronized
      return try BatchNorm(channels: channels, options)
    case let norm as SwitchableNorm:
      var options = norm.options
      let (from, to): (Partition, Partition) = isSynchronized ? (.batch, .synchronized) : (.synchronized, .batch)
      guard let place = options.branches.firstIndex(of: from) else { return nil }
      options.branches[place] = to
      return try SwitchableNorm(channels: channels, options)
    case let norm as EvoNorm where norm.isSynchronized != isSynchronized:
      guard case .b0 = norm.form else { return nil }
      return try EvoNorm(channels: channels, form: norm.form, epsilon: norm.epsilon, isSynchronized: isSynchronized)
    default: return nil
    }
  }

  /// Copies all parameters and buffers of a layer of the same kind and options.
  fileprivate func takeAll(of other: any ConvertibleNorm) throws {
    try load(stateDictionary: Dictionary(uniqueKeysWithValues: other.stateDictionary().map { ($0.key, $0.value) }))
    for ((_, own), (_, given)) in zip(namedParameters(), other.namedParameters()) { try own.freeze(given.isFrozen) }
  }
}

extension EvoNorm: ConvertibleNorm {
  var affineParameters: (weight: Parameter?, bias: Parameter?) { (weight, bias) }
}

extension NormalizationConversion {
  /// nil where the layer stays.
  fileprivate func replacement(
    for layer: any ConvertibleNorm, key: String, isLinear: Bool
  ) throws -> (any Layer)? {
    func named<Result>(_ body: () throws -> Result) throws -> Result {
      do { return try body() } catch let error as NormalizationError {
        throw NormalizationError("the norm '\(key)' cannot be swapped: \(error)")
      }
    }
    let made: any Layer
    switch self {
    case .frozen:
      guard let batch = layer as? BatchNorm else { return nil }
      made = try named { try FrozenBatchNorm(batch) }
    case .synchronized, .local:
      let wanted = if case .synchronized = self { true } else { false }
      guard let found = try layer.synchronized(wanted) else { return nil }
      made = found
    case .kind(let normalization):
      let found = try named {
        try isLinear
          ? normalization.linearLayer(channels: layer.channels) : normalization.layer(channels: layer.channels)
      }
      guard let found else {
        throw NormalizationError(
          "the norm '\(key)' cannot be swapped for none: the next layer expects normalized values")
      }
      made = found
    }
    // Type and device first: what is copied is converted to them.
    if let example = layer.stateDictionary().map(\.value).first(where: { $0.dtype.isFloatingPoint }) {
      try made.to(dtype: example.dtype)
      try made.to(device: example.device)
    }
    if let made = made as? any ConvertibleNorm {
      switch self {
      case .kind: try made.takeState(of: layer)
      case .synchronized, .local: try made.takeAll(of: layer)
      case .frozen: break
      }
    }
    made.setTraining(layer.isTraining)
    return made
  }
}

extension ConvertibleNorm {
  /// Copies γ and β of another layer of as many channels, where both have them.
  func takeAffine(of other: any ConvertibleNorm) throws {
    let (own, given) = (affineParameters, other.affineParameters)
    for (own, given) in [(own.weight, given.weight), (own.bias, given.bias)] {
      guard let own, let given else { continue }
      try withoutGradients { try own.value.copy(from: given.value) }
      if !(other is FrozenBatchNorm) { try own.freeze(given.isFrozen) }
    }
  }

  /// ``takeAffine(of:)``, and the running statistics.
  fileprivate func takeState(of other: any ConvertibleNorm) throws {
    try takeAffine(of: other)
    guard let own = keptStatistics, let given = other.keptStatistics else { return }
    for (own, given) in [(own.mean, given.mean), (own.variance, given.variance)] {
      if let own, let given { try own.value.copy(from: given.value) }
    }
    if let own = own.count, let given = given.count { try own.value.copy(from: given.value) }
  }
}
