import NormaRecords

/// The epochs of one training as comma-separated values, with the columns that Keras's logger made usual.
public enum HistoryCSV {
  public static let header = "epoch,acc,loss,val_acc,val_loss,seconds"

  public static func text(_ history: [EpochRecord]) -> String {
    let rows = history.map { epoch in
      let values = [
        epoch.accuracy, epoch.loss, epoch.validationAccuracy, epoch.validationLoss, epoch.seconds,
      ]
      return "\(epoch.epoch)," + values.map { "\($0)" }.joined(separator: ",")
    }
    return ([header] + rows).joined(separator: "\n") + "\n"
  }
}
