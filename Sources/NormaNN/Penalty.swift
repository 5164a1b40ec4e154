import NormaTensor

/// A module that wants something added to the loss of its training, such as an L2 penalty on some of its weights.
public protocol PenalizedModule: Module {
  /// What is added: a differentiable scalar of the parameters' type.
  func penalty() throws -> Tensor
}

extension Module {
  /// The sum of what the ``PenalizedModule``s of the tree add to the loss; nil where there is none. `Trainer` minimizes it with the
  /// task's loss.
  public final func penalties() throws -> Tensor? { try penalizedModules.penalty() }

  /// The modules of the tree that add to the loss, for callers that ask them at every step.
  public final var penalizedModules: [any PenalizedModule] {
    namedModules().compactMap { $0.module as? any PenalizedModule }
  }
}

extension [any PenalizedModule] {
  /// The sum of their penalties; nil for none.
  public func penalty() throws -> Tensor? {
    let terms = try map { try $0.penalty() }
    guard let first = terms.first else { return nil }
    return try terms.dropFirst().reduce(first) { try $0 + $1 }
  }
}

extension Parameter {
  /// The sum of squares Σw², differentiable.
  public func sumOfSquares() throws -> Tensor { try value.squared().sum() }
}
