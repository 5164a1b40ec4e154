import NormaNN
import NormaTensor

/// What the norms of a trained network become.
public enum NormalizationConversion: Sendable {
  /// Batch normalization with fixed statistics and parameters; other norms stay.
  case frozen
  /// Another member of the family. The affine parameters are kept where both have them, and so are running statistics.
  case kind(Normalization)
}

extension Module {
  /// Swaps every norm of the network for another, keeping γ and β: batch to group before fine-tuning with small batches,
  /// batch to frozen, and so on. Modes, types and devices stay. What a network computes changes, of course, but for
  /// ``NormalizationConversion/frozen`` in evaluation. Optimizers made before hold the old norms' parameters: make them anew.
  ///
  /// Norms are found in every `LayerContainer`, such as `Sequential` and ``ConvNormActivation``.
  /// - Returns: the keys of the norms that were swapped.
  /// - Throws: ``NormalizationError`` that names a norm which the network holds outside of a container, or that a norm cannot
  ///   take the place of; then nothing was swapped.
  @discardableResult
  public func convertNormalization(to target: NormalizationConversion) throws -> [String] {
    var replacements: [ObjectIdentifier: any Layer] = [:]
    let modules = namedModules()
    for (key, module) in modules {
      guard let layer = module as? any Layer, let replacement = try target.replacement(for: layer, key: key) else {
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

extension NormalizationConversion {
  /// nil where the layer stays.
  fileprivate func replacement(for layer: any Layer, key: String) throws -> (any Layer)? {
    switch self {
    case .frozen: return try (layer as? BatchNorm).map { try adapted(FrozenBatchNorm($0), to: $0) }
    case .kind(let normalization):
      let channels: Int
      switch layer {
      case let norm as NormalizationLayer: channels = norm.channels
      case let norm as EvoNorm: channels = norm.channels
      default: return nil
      }
      guard let made = try normalization.layer(channels: channels) else {
        throw NormalizationError(
          "the norm '\(key)' cannot be swapped for none: the next layer expects normalized values")
      }
      if let norm = layer as? NormalizationLayer, let made = made as? NormalizationLayer {
        try adapted(made, to: norm).takeState(of: norm)
      }
      made.setTraining(layer.isTraining)
      return made
    }
  }

  /// The new layer with the mode, the type and the device of the old one.
  private func adapted<New: NormalizationLayer>(_ new: New, to old: NormalizationLayer) throws -> New {
    if let example = old.stateDictionary().map(\.value).first(where: { $0.dtype.isFloatingPoint }) {
      try new.to(dtype: example.dtype)
      try new.to(device: example.device)
    }
    new.setTraining(old.isTraining)
    return new
  }
}

extension NormalizationLayer {
  /// Copies γ and β of another layer of as many channels, where both have them.
  func takeAffine(of other: NormalizationLayer) throws {
    for (own, given) in [(weight, other.weight), (bias, other.bias)] {
      guard let own, let given else { continue }
      try withoutGradients { try own.value.copy(from: given.value) }
      if !(other is FrozenBatchNorm) { try own.freeze(given.isFrozen) }
    }
  }

  /// ``takeAffine(of:)``, and the running statistics.
  fileprivate func takeState(of other: NormalizationLayer) throws {
    try takeAffine(of: other)
    guard let own = runningStatistics, let given = other.runningStatistics else { return }
    for (own, given) in [(own.mean, given.mean), (own.variance, given.variance)] {
      if let own, let given { try own.value.copy(from: given.value) }
    }
    if let own = own.count, let given = given.count { try own.value.copy(from: given.value) }
  }
}
