import NormaTensor

/// A module that maps one tensor to one tensor. Types implement ``forward(_:)``; users call the layer.
public protocol Layer: Module {
  func forward(_ input: Tensor) throws -> Tensor
}

extension Layer {
  public func callAsFunction(_ input: Tensor) throws -> Tensor {
    try observed(input) { try forward(input) }
  }

  /// Runs a computation of this layer so that a ``LayerObserver`` sees it.
  public func observed(_ input: Tensor, _ compute: () throws -> Tensor) rethrows -> Tensor {
    let output = try compute()
    if let observer = LayerObserver.current { observer(self, input, output) }
    return output
  }
}

/// A layer that deals with the activation after it: computes it in the same pass, or takes its place.
public protocol ActivatingLayer: Layer {
  func forward(_ input: Tensor, activation: Activation) throws -> Tensor
}

extension Layer {
  /// This layer and an activation after it, seen by observers.
  public func callAsFunction(_ input: Tensor, then activation: Activation) throws -> Tensor {
    try observed(input) { try forward(input, then: activation) }
  }

  /// This layer and an activation after it, in one where the layer can.
  public func forward(_ input: Tensor, then activation: Activation) throws -> Tensor {
    if let layer = self as? any ActivatingLayer { return try layer.forward(input, activation: activation) }
    return try activation.consuming(forward(input))
  }
}

/// A module that changes over the course of a training.
public protocol ProgressFollowing: Module {
  /// Called before every step.
  /// - Parameter progress: the share of the training that is done, from 0 to 1.
  func followProgress(_ progress: Double) throws
}

extension Module {
  /// The modules of the tree that want to know how much of a training is done.
  public final var progressFollowers: [any ProgressFollowing] {
    namedModules().compactMap { $0.module as? any ProgressFollowing }
  }

  /// Tells every ``ProgressFollowing`` module of the tree how much of a training is done; call it before every step of a
  /// training loop of your own.
  public final func follow(progress: Double) throws {
    for follower in progressFollowers { try follower.followProgress(progress) }
  }
}

/// A module whose layers can be exchanged for others.
public protocol LayerContainer: Module {
  /// Calls the body with every direct layer that may be exchanged, and puts what it returns in the layer's place.
  func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows

  /// Those of the layers that stand where no activation follows, so that one which brings its own has to come without it; none
  /// by default.
  var layersWithoutActivation: [any Layer] { get }
}

extension LayerContainer {
  public var layersWithoutActivation: [any Layer] { [] }
}

/// Lets a caller look at every layer call: for tables of shapes, statistics of activations, …
public enum LayerObserver {
  public typealias Observer = @Sendable (_ layer: Module, _ input: Tensor, _ output: Tensor) -> Void

  @TaskLocal static var current: Observer?

  /// Whether somebody looks at the layer calls of this thread.
  public static var isObserving: Bool { current != nil }

  /// Calls `observer` after every layer call that the body makes on this thread.
  public static func observe<Result>(_ observer: @escaping Observer, _ body: () throws -> Result) rethrows
    -> Result
  {
    try $current.withValue(observer, operation: body)
  }
}

/// Layers applied one after the other.
public final class Sequential: Module, Layer, LayerContainer {
  public private(set) var layers: [any Layer]

  public init(_ layers: [any Layer]) { self.layers = layers }

  public func forward(_ input: Tensor) throws -> Tensor {
    try layers.reduce(input) { try $1($0) }
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows { layers = try layers.map(body) }
}
