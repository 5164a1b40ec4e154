import ArgumentParser

/// How several processes work off one grid.
struct ShareOptions: ParsableArguments {
  @Flag(
    help: ArgumentHelp(
      "Work off the grid together with all processes, on this machine and others, that are started with the same options and "
        + "--share on the same --output (or --resume), a folder that all of them see: each training is done by one of them."
    ))
  var share = false

  @Option(
    help: ArgumentHelp(
      "With --share: a training whose process gives no sign of life for so long is gone on with by another one, from its "
        + "checkpoint. (default: \(Int(Self.standardTimeout)))", valueName: "seconds"))
  var claimTimeout: Double?

  @Flag(
    inversion: .prefixedNo,
    help: "With --share: when no training is free, wait for those of the others and end with the whole table.")
  var wait = true

  private static let standardTimeout = 120.0

  /// Nil without --share.
  var sharing: Sharing? {
    share ? Sharing(timeout: claimTimeout ?? Self.standardTimeout, waits: wait) : nil
  }

  func validate() throws {
    if let claimTimeout {
      guard (1...86_400).contains(claimTimeout) else {
        throw ValidationError("--claim-timeout must be in 1…86400 seconds, got \(claimTimeout).")
      }
    }
    if !share, claimTimeout != nil || !wait {
      throw ValidationError(
        "\(wait ? "--claim-timeout" : "--no-wait") is for processes that share a run: give --share too.")
    }
  }
}
