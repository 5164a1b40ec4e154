#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import Synchronization

/// Measures what happens inside a network while it is trained: how far the inputs of its norms drift and are from the running
/// statistics, which gradients vanish, which ReLUs are dead, how smooth the loss is.
///
/// Measuring leaves parameters, running statistics, gradients, modes and random generators exactly as they were, so that a
/// training goes on as it would have. It takes five forward and two further forward and backward passes over one batch.
///
/// Internal covariate shift: Ioffe & Szegedy 2015; its measure and that of the loss surface along the gradient as in
/// Santurkar et al. 2018, "How Does Batch Normalization Help Optimization?", sections 2.2 and 3.1.
public final class TrainingProbe {
  /// The steps t along the gradient, in learning rates.
  static let steps = [0.5, 1, 2, 4]
  /// Added to variances in ratios: what norms add by default.
  static let epsilon = 1e-5

  private typealias Moments = (mean: [Double], variance: [Double])

  private let model: Module
  private let loss: () throws -> Tensor
  /// Of the inputs at the last moment, by layer.
  private var last: [String: Moments] = [:]

  /// What drifts are measured from, for checkpoints: by layer, the means and the variances of the inputs at the last moment.
  public var memory: [String: [[Double]]] {
    get { last.mapValues { [$0.mean, $0.variance] } }
    set { last = newValue.filter { $0.value.count == 2 }.mapValues { (mean: $0[0], variance: $0[1]) } }
  }

  /// - Parameter loss: one pass of the network over the batch that is looked at, and its loss, a scalar.
  public init(model: Module, loss: @escaping () throws -> Tensor) {
    self.model = model
    self.loss = loss
  }

  /// Measures now. Drifts are those since the last call.
  /// - Parameters:
  ///   - epoch: how many epochs the network has been trained for.
  ///   - learningRate: that of the steps along the gradient.
  /// - Throws: what the network throws; it is as before then too.
  public func measure(epoch: Int, learningRate: Double) throws -> DiagnosisRecord {
    var found: (inputs: [LayerInputRecord], rectifiers: [RectifierRecord])?
    var gradients: [GradientRecord] = []
    var surface: LossSurfaceRecord?
    var evaluationLoss = 0.0
    let elapsed = try ContinuousClock().measure {
      let state = model.stateDictionary().map(\.value)
      let before = state.map(\.state)
      let copies = try state.map { try $0.detached().cloned() }
      func restore() throws {
        for ((tensor, state), copy) in zip(zip(state, before), copies) where tensor.state != state {
          try withoutGradients { try tensor.copy(from: copy) }
        }
      }
      do {
        found = try layers()
        evaluationLoss = try inEvaluation { try withoutGradients { try loss().item() } }
        (gradients, surface) = try gradientsAndSurface(learningRate)
      } catch {
        try restore()
        throw error
      }
      try restore()
    }
    guard let found, let surface else { preconditionFailure("measured above") }
    return DiagnosisRecord(
      epoch: epoch, seconds: elapsed / .seconds(1), inputs: found.inputs, rectifiers: found.rectifiers,
      gradients: gradients, surface: surface, evaluationLoss: evaluationLoss)
  }

  private func inEvaluation<Result>(_ body: () throws -> Result) rethrows -> Result {
    let modules = model.namedModules().map(\.module)
    let modes = modules.map(\.isTraining)
    defer { for (module, mode) in zip(modules, modes) { module.setTraining(mode) } }
    model.evaluate()
    return try body()
  }

  // MARK: - Activations

  /// What to look at in a pass, by module.
  private struct Watch: Sendable {
    var inputs: [ObjectIdentifier: String] = [:]
    /// Outputs that a norm would be given, had the block one.
    var outputs: [ObjectIdentifier: String] = [:]
    var rectifiers: [ObjectIdentifier: String] = [:]
    /// Names of the layers that may measure statistics.
    var names: [ObjectIdentifier: String] = [:]

    init(_ model: Module) {
      for (key, module) in model.namedModules() {
        let identity = ObjectIdentifier(module)
        if let block = module as? ConvNormActivation {
          if block.isRectifying { rectifiers[identity] = key }
          if let norm = block.norm {
            names[ObjectIdentifier(norm)] = key
            // The layers of a sequence are looked at one by one.
            if !(norm is Sequential) { inputs[ObjectIdentifier(norm)] = key }
          } else {
            outputs[ObjectIdentifier(block.conv)] = key
          }
        } else if module is NormalizationLayer || module is EvoNorm, inputs[identity] == nil {
          inputs[identity] = key
          names[identity] = key
        } else if (module as? ActivationLayer)?.activation == .relu {
          rectifiers[identity] = key
        }
      }
    }
  }

  /// What one pass showed; a layer that is called again shows its last call.
  private struct Sight: Sendable {
    var inputs: [(layer: String, moments: Moments)] = []
    var rectifiers: [RectifierRecord] = []
    var error: (any Error)?

    mutating func look(at layer: Module, _ input: Tensor, _ output: Tensor, _ watch: Watch) throws {
      let identity = ObjectIdentifier(layer)
      if let key = watch.inputs[identity] { try add(input, key) }
      if let key = watch.outputs[identity] { try add(output, key) }
      if let key = watch.rectifiers[identity], output.rank >= 2 {
        let others = (0..<output.rank).filter { $0 != 1 }
        let zeros: [Double] = try (output .== 0.0).sum(others).array()
        let perChannel = output.count / max(1, zeros.count)
        rectifiers.removeAll { $0.layer == key }
        rectifiers.append(
          RectifierRecord(
            layer: key, channels: zeros.count, valuesPerChannel: perChannel,
            deadChannels: zeros.count { $0 == Double(perChannel) },
            zeroShare: zeros.reduce(0, +) / Double(max(1, output.count))))
      }
    }

    private mutating func add(_ tensor: Tensor, _ key: String) throws {
      guard tensor.rank >= 2, tensor.count > 0 else { return }
      let table = try tensor.detached().contiguous(tensor.denseFormat).pooledMoments([.batch])[0]
      inputs.removeAll { $0.layer == key }
      // Every sample has the same.
      inputs.append((key, (try table.mean.selected(0).array(), try table.variance.selected(0).array())))
    }
  }

  private func layers() throws -> (inputs: [LayerInputRecord], rectifiers: [RectifierRecord]) {
    let watch = Watch(model)
    let sight = Mutex(Sight())
    let (_, measured) = try model.leavingStatistics {
      try withoutGradients {
        try LayerObserver.observe { layer, input, output in
          sight.withLock { sight in
            do { try sight.look(at: layer, input, output, watch) } catch { sight.error = error }
          }
        } _: {
          _ = try loss()
        }
      }
    }
    let seen = sight.withLock { $0 }
    if let error = seen.error { throw error }
    var gaps: [String: (mean: Double?, variance: Double)] = [:]
    for statistics in measured {
      guard let key = watch.names[ObjectIdentifier(statistics.layer)] else { continue }
      let running = statistics.runningVariance
      gaps[key] = (
        mean: statistics.runningMean.map { Self.shift(from: ($0, running), to: statistics.mean) },
        variance: Self.logRatio(from: running, to: statistics.variance)
      )
    }
    let inputs = seen.inputs.map { layer, now in
      let mean = average(now.mean)
      let variance = average(zip(now.mean, now.variance).map { $1 + ($0 - mean) * ($0 - mean) })
      let before = last[layer].flatMap { $0.mean.count == now.mean.count ? $0 : nil }
      return LayerInputRecord(
        layer: layer, mean: mean, variance: variance,
        meanDrift: before.map { Self.shift(from: $0, to: now.mean) },
        varianceDrift: before.map { Self.logRatio(from: $0.variance, to: now.variance) },
        meanGap: gaps[layer]?.mean, varianceGap: gaps[layer]?.variance)
    }
    last = Dictionary(seen.inputs.map { ($0.layer, $0.moments) }, uniquingKeysWith: { $1 })
    return (inputs, seen.rectifiers)
  }

  /// |change of the mean| / σ, mean over the channels.
  private static func shift(from old: Moments, to mean: [Double]) -> Double {
    average(mean.indices.map { abs(mean[$0] - old.mean[$0]) / (old.variance[$0] + epsilon).squareRoot() })
  }

  /// |log of the ratio|, mean over the channels.
  private static func logRatio(from old: [Double], to new: [Double]) -> Double {
    average(zip(old, new).map { abs(log(($1 + epsilon) / ($0 + epsilon))) })
  }

  // MARK: - Gradients

  private func gradientsAndSurface(_ rate: Double) throws -> ([GradientRecord], LossSurfaceRecord) {
    let named = model.namedParameters().filter { !$0.parameter.isFrozen }
    let parameters = named.map(\.parameter.value)
    let (loss, gradients) = try lossAndGradients(parameters)
    let norms = try gradients.map { try $0.map(length) ?? 0 }
    let records = try zip(named, norms).compactMap { named, norm -> GradientRecord? in
      let weight = named.parameter.value
      guard weight.rank >= 2 else { return nil }
      let suffix = ".weight"
      return GradientRecord(
        layer: named.key.hasSuffix(suffix) ? String(named.key.dropLast(suffix.count)) : named.key, norm: norm,
        weightNorm: try length(weight.detached()))
    }
    let total = hypotenuse(norms)

    let start = try parameters.map { try $0.detached().cloned() }
    var losses: [Double] = []
    var smoothness: Double?
    for step in Self.steps {
      try withoutGradients {
        for ((parameter, start), gradient) in zip(zip(parameters, start), gradients) {
          guard let gradient else { continue }
          try parameter.copy(from: start)
          try parameter.add(gradient, scale: -step * rate)
        }
      }
      guard step == 1 else {
        losses.append(try withoutGradients { try model.leavingStatistics { try self.loss().item() }.result })
        continue
      }
      let there = try lossAndGradients(parameters)
      losses.append(there.loss)
      let changes = try zip(gradients, there.gradients).map { here, there in
        guard let here, let there else { return try (here ?? there).map(length) ?? 0 }
        return try length(there - here)
      }
      if rate * total > 0 { smoothness = hypotenuse(changes) / (rate * total) }
    }
    return (
      records,
      LossSurfaceRecord(
        learningRate: rate, loss: loss, gradientNorm: total, steps: Self.steps, losses: losses, smoothness: smoothness)
    )
  }

  /// Leaves `gradient` of the parameters alone.
  private func lossAndGradients(_ parameters: [Tensor]) throws -> (loss: Double, gradients: [Tensor?]) {
    try model.leavingStatistics {
      let value = try loss()
      return (try value.item(), parameters.isEmpty ? [] : try value.gradients(of: parameters))
    }.result
  }
}

private func average(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }

private func hypotenuse(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

/// Euclidean.
private func length(_ tensor: Tensor) throws -> Double {
  try tensor.to(dtype: .float64).squared().sum().item().squareRoot()
}
